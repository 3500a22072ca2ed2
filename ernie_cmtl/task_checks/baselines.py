"""Cheap predictors that must not solve a task: sums of tables over keys, and a ridge regression on
counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ernie_cmtl.records import Array, FloatArray, IntArray

_ROUNDS = 5
_PRIOR = 5.0
"""Labels that a table entry is held back by: a key that was seen once says little."""
_BINS = 32
_HASHED = 1024
_RIDGES = (10.0, 100.0, 1000.0, 10000.0)


def fit_and_predict(train: IntArray, targets: FloatArray, heldout: IntArray) -> FloatArray:
    """Fit a sum of tables, one for each column of keys, by least squares; predict the held-out
    rows.

    train: keys, int64 [N, K], K may be 0; targets: [N, C]; heldout: int64 [M, K]. Returns [M, C]:
    the mean of the targets plus what each key adds to it; a key that was never seen adds nothing.
    """
    mean = targets.mean(axis=0)
    residual = targets - mean
    found = np.tile(mean, (len(heldout), 1))
    columns = [np.unique(train[:, column], return_inverse=True) for column in range(train.shape[1])]
    tables = [np.zeros((len(known), targets.shape[1])) for known, _ in columns]
    for _ in range(_ROUNDS if len(columns) > 1 else 1):
        for (_, codes), table in zip(columns, tables, strict=True):
            residual += table[codes]
            sums = [
                np.bincount(codes, weights=values, minlength=len(table)) for values in residual.T
            ]
            table[:] = (
                np.stack(sums, axis=1)
                / (np.bincount(codes, minlength=len(table)) + _PRIOR)[:, None]
            )
            residual -= table[codes]
    for column, ((known, _), table) in enumerate(zip(columns, tables, strict=True)):
        places = np.minimum(np.searchsorted(known, heldout[:, column]), len(known) - 1)
        found += np.where((known[places] == heldout[:, column])[:, None], table[places], 0.0)
    return found


def binned(train: Array, heldout: Array) -> tuple[IntArray, IntArray]:
    """Turn columns of numbers into keys: bins that hold about as many training rows each; [N, K]
    and [M, K].
    """
    keys: list[list[IntArray]] = [[], []]
    for column in range(train.shape[1]):
        edges = np.unique(
            np.quantile(train[:, column], np.linspace(0, 1, _BINS + 1)[1:], method="inverted_cdf")
        )
        for side, values in enumerate((train[:, column], heldout[:, column])):
            keys[side].append(np.searchsorted(edges, values))
    return _columns(keys[0], len(train)), _columns(keys[1], len(heldout))


def _columns(columns: Sequence[IntArray], rows: int) -> IntArray:
    return np.stack(columns, axis=1) if columns else np.zeros((rows, 0), dtype=np.int64)


def hashed_counts(texts: Sequence[IntArray]) -> npt.NDArray[np.float32]:
    """Count the tokens of each text in hashed places, on a logarithmic scale; float32 [N, 1024]."""
    rows = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    tokens = np.concatenate(texts) if texts else np.zeros(0, dtype=np.int64)
    places = (tokens * 2654435761 % 2**32) >> 22
    counts = np.bincount(rows * _HASHED + places, minlength=len(texts) * _HASHED)
    return np.log1p(counts.astype(np.float32)).reshape(len(texts), _HASHED)


def ridge_predict(
    train: npt.NDArray[np.float32], targets: FloatArray, heldout: npt.NDArray[np.float32]
) -> FloatArray:
    """Fit a linear model by least squares, held back as much as suits a fourth of the training
    rows; predict others.

    train: [N, D]; targets: [N, C]; heldout: [M, D]. Returns [M, C].
    """
    kept = max(1, len(train) * 3 // 4)
    errors = []
    for ridge in _RIDGES:
        missed = _ridge(train[:kept], targets[:kept], train[kept:], ridge) - targets[kept:]
        errors.append(float((missed**2).sum()))
    return _ridge(train, targets, heldout, _RIDGES[int(np.argmin(errors))])


def _ridge(
    train: npt.NDArray[np.float32],
    targets: FloatArray,
    others: npt.NDArray[np.float32],
    ridge: float,
) -> FloatArray:
    centre, mean = train.mean(axis=0), targets.mean(axis=0)
    moved = train - centre
    held_back = np.float32(ridge) * np.eye(train.shape[1], dtype=np.float32)
    weights = np.linalg.solve(moved.T @ moved + held_back, moved.T @ (targets - mean))
    return np.asarray((others - centre) @ weights + mean, dtype=np.float64)


@dataclass(frozen=True)
class BaselineScore:
    """How well one baseline does on held-out labels."""

    value: float
    """Accuracy; for regression R2."""
    chance: float
    """For regression 0."""
    error: float
    """Standard error of value - chance if there is nothing to find, labels of one passage counted
    together.
    """
    labels: int
    """Held-out labels that were judged."""

    @property
    def leaks(self) -> bool:
        """Beats chance by more than 5 points and by more than 3 standard errors."""
        return self.value - self.chance > max(0.05, 3 * self.error)


def class_score(
    scores: FloatArray, labels: IntArray, clusters: IntArray, groups: Sequence[str] = ()
) -> BaselineScore:
    """Compare the class of the highest score with the label.

    scores: [N, C]; labels: int64 [N]; clusters: int64 [N], equal for labels that are not
    independent; groups: class -> what the input shows of it: only classes of the label's own group
    are chosen from, and groups of one class are left out.
    """
    names = list(dict.fromkeys(groups))
    group_of_class = (
        np.array([names.index(name) for name in groups])
        if names
        else np.zeros(scores.shape[1], dtype=np.int64)
    )
    sizes = np.bincount(group_of_class)
    judged = sizes[group_of_class[labels]] > 1
    scores, labels, clusters = scores[judged], labels[judged], clusters[judged]
    if not len(labels):
        return BaselineScore(0.0, 0.0, 0.0, 0)
    own = group_of_class[labels]
    chosen = np.where(own[:, None] == group_of_class[None, :], scores, -np.inf).argmax(axis=1)
    counts = np.bincount(labels, minlength=len(group_of_class))
    chance = np.zeros(len(sizes))
    for group in np.unique(own):
        members = counts[group_of_class == group]
        chance[group] = max(members.max() / members.sum(), 1 / sizes[group])
    return _accuracy((chosen == labels).astype(np.float64), chance[own], clusters)


def regression_score(values: FloatArray, labels: Array, clusters: IntArray) -> BaselineScore:
    """Return R2: the part of the variance of the labels that the values explain; all [N]."""
    gain = (labels - labels.mean()) ** 2 - (labels - values) ** 2
    variance = max(float(labels.var()), 1e-12)
    return BaselineScore(
        float(gain.mean()) / variance, 0.0, _clustered_error(gain, clusters) / variance, len(labels)
    )


def _accuracy(hits: FloatArray, chance: FloatArray, clusters: IntArray) -> BaselineScore:
    return BaselineScore(
        float(hits.mean()),
        float(chance.mean()),
        _clustered_error(hits - chance, clusters),
        len(hits),
    )


def _clustered_error(differences: FloatArray, clusters: IntArray) -> float:
    """Return the standard error of a mean whose members depend on each other within a cluster;
    binomial where none do.
    """
    sums = np.bincount(np.unique(clusters, return_inverse=True)[1], weights=differences)
    return float(np.sqrt((sums**2).sum())) / len(differences)
