"""Intervals that hold the true share in 95 of 100 cases."""

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import Any

import numpy as np

from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Array

Interval = list[float]
"""Its lower and its upper end."""

Difference = tuple[float, tuple[float, float] | None]
"""Mean and its interval; none where there is one observation."""
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


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return Student's interval of a mean; None for a single value.

    Raises:
        UserError: SciPy is not installed.
    """
    if len(values) < 2:
        return None
    mean, count = fmean(values), len(values)
    half = float(_scipy_stats().t.ppf(0.975, count - 1)) * stdev(values) / sqrt(count)
    return mean - half, mean + half


def paired_difference(
    values: Mapping[int, float], baseline: Mapping[int, float]
) -> Difference | None:
    """Return values less baseline over the seeds that both have: the mean, and Student's interval
    of paired differences; None where they share no seed.

    Raises:
        UserError: SciPy is not installed.
    """
    differences = [values[seed] - baseline[seed] for seed in values if seed in baseline]
    return (fmean(differences), mean_interval(differences)) if differences else None


def paired_shares(hits: Sequence[bool], baseline: Sequence[bool]) -> Difference:
    """Return the share of hits less that of the baseline on the same questions, with the interval
    of Agresti and Min (2005), which also holds where both answer all alike.
    """
    pairs = list(zip(hits, baseline, strict=True))
    gained = sum(one and not other for one, other in pairs)
    lost = sum(other and not one for one, other in pairs)
    count = len(pairs) + 2
    centre = (gained - lost) / count
    half = _Z * sqrt((gained + lost + 1 - (gained - lost) ** 2 / count) / count**2)
    return (gained - lost) / len(pairs), (max(-1.0, centre - half), min(1.0, centre + half))


def correlation_difference(values: Array, baseline: Array, scores: Array) -> Difference:
    """Return by how much more than the baseline some values correlate (Pearson) with scores, with
    the percentile interval of 2,000 bootstrap samples of the rows; all are [rows].

    Raises:
        UserError: SciPy is not installed.
    """
    stats = _scipy_stats()

    def difference(values: Array, baseline: Array, scores: Array, axis: int) -> Any:
        return _pearson(values, scores, axis) - _pearson(baseline, scores, axis)

    found = stats.bootstrap(
        (values, baseline, scores),
        difference,
        paired=True,
        vectorized=True,
        n_resamples=2000,
        batch=200,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    mean = float(difference(values, baseline, scores, -1))
    return mean, (float(found.low), float(found.high))


def _pearson(values: Array, scores: Array, axis: int) -> Any:
    """Return the correlation along an axis; 0 where one side is constant."""
    left = values - values.mean(axis, keepdims=True)
    right = scores - scores.mean(axis, keepdims=True)
    size = np.sqrt((left**2).sum(axis) * (right**2).sum(axis))
    return (left * right).sum(axis) / np.where(size > 0, size, 1)


def _scipy_stats() -> Any:
    try:
        from scipy import stats
    except ImportError as error:
        raise UserError("comparing needs scipy: pip install 'ernie-cmtl[finetune]'") from error
    return stats
