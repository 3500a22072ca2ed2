"""Intervals that hold the true share in 95 of 100 cases."""

from math import sqrt

Interval = list[float]
"""Its lower and its upper end."""

_Z = 1.959964
"""Two-sided 95 % point of the normal distribution."""


def wilson(share: float, count: float) -> Interval:
    """Return Wilson's score interval of a share of so many independent observations; the count need
    not be whole.
    """
    centre = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * sqrt(share * (1 - share) / count + (_Z / (2 * count)) ** 2)
    return [max(0.0, centre - half), min(1.0, centre + half)]


def clustered(
    hits: float, labels: float, hits_squared: float, hits_labels: float, labels_squared: float
) -> Interval:
    """Return the interval of hits / labels where labels come in clusters that may agree among
    themselves.

    The last three are sums over the clusters of hits², hits x labels and labels². The variance is
    that of a ratio of cluster sums, and the interval Wilson's for as many independent labels as
    would have that variance.
    """
    share = hits / labels
    variance = (hits_squared - 2 * share * hits_labels + share**2 * labels_squared) / labels**2
    # Where all answers are alike there is no variance to see; then clusters count by their sizes.
    alike = variance <= 1e-12
    return wilson(share, labels**2 / labels_squared if alike else share * (1 - share) / variance)
