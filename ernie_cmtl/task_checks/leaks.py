"""What can be told of the labels of a task without reading the text, and how the labels are
spread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict

import numpy as np

from ernie_cmtl.head_kinds import head_kind
from ernie_cmtl.records import Array, FloatArray, IntArray
from ernie_cmtl.task import HeadSpec
from ernie_cmtl.task_checks.baselines import (
    BaselineScore,
    class_score,
    regression_score,
)
from ernie_cmtl.task_checks.features import (
    Predictions,
    labels_of,
    sequence_baselines,
    sequence_rows,
    token_baselines,
    token_rows,
)
from ernie_cmtl.task_checks.text_view import TextView

_MOST_LABELS = 200_000
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Leak(TypedDict):
    """How well one baseline does on the held-out labels of one head."""

    head: str
    baseline: str
    measure: str
    """accuracy, or r2 for regression."""
    accuracy: float
    """The value of the measure."""
    chance: float
    samples: int
    """Held-out labels that were judged; where the input shows a group, those of groups of several
    classes.
    """
    leaks: bool
    """Beats chance by more than 5 points and by more than 3 standard errors."""
    allowed: str | None
    """Why the task says that this is so by nature."""


def find_leaks(
    spec: HeadSpec, train: TextView, heldout: TextView, known: Mapping[str, str]
) -> list[Leak]:
    """Fit every baseline of a head on training samples and score it on held-out ones; known:
    baseline -> reason.
    """
    train, heldout = _bounded(train, spec), _bounded(heldout, spec)
    (labels, _), (judged, clusters) = labels_of(train, spec), labels_of(heldout, spec)
    if not len(labels) or not len(judged):
        return []
    if head_kind(spec.kind).labels == "token":
        # The token that is right most often; reported, for to predict tokens from their frequency
        # is where learning begins.
        hits = float((judged == np.bincount(labels).argmax()).mean())
        chance = float(np.bincount(judged).max()) / len(judged)
        return [_leak(spec, "unigram", BaselineScore(hits, chance, 0.0, len(judged)), None)]
    targets = _targets(spec, labels)
    found = []
    for name, predict in _baselines(spec, train, heldout).items():
        score = _score(spec, predict(targets), judged, clusters)
        found.append(_leak(spec, name, score, known.get(name)))
    return found


def _bounded(view: TextView, spec: HeadSpec) -> TextView:
    """Leave out the samples after those that hold labels enough."""
    counts = [
        len(sample.example.targets[spec.name].labels)
        for sample in view.samples
        if spec.name in sample.example.targets
    ]
    if sum(counts) <= _MOST_LABELS:
        return view
    holding = [sample for sample in view.samples if spec.name in sample.example.targets]
    return replace(view, samples=holding[: int(np.searchsorted(np.cumsum(counts), _MOST_LABELS))])


def _baselines(spec: HeadSpec, train: TextView, heldout: TextView) -> Predictions:
    if not head_kind(spec.kind).reads_sequence:
        return token_baselines(token_rows(train, spec), token_rows(heldout, spec))
    return sequence_baselines(sequence_rows(train, spec), sequence_rows(heldout, spec))


def _targets(spec: HeadSpec, labels: Array) -> FloatArray:
    """Return what a baseline is fitted to: [N, classes], [N, 1] for regression, [N * candidates, 1]
    for a choice.
    """
    kind = head_kind(spec.kind)
    if kind.is_regression:
        return np.asarray(labels, dtype=np.float64)[:, None]
    one_hot = np.eye(spec.classes)[labels]
    return one_hot.reshape(-1, 1) if kind.candidates(spec) else one_hot


def _score(
    spec: HeadSpec, predicted: FloatArray, labels: Array, clusters: IntArray
) -> BaselineScore:
    if head_kind(spec.kind).is_regression:
        return regression_score(predicted[:, 0], labels, clusters)
    return class_score(predicted.reshape(len(labels), -1), labels, clusters, spec.shown_groups)


def _leak(spec: HeadSpec, baseline: str, score: BaselineScore, allowed: str | None) -> Leak:
    return {
        "head": spec.name,
        "baseline": baseline,
        "measure": "r2" if head_kind(spec.kind).is_regression else "accuracy",
        "accuracy": score.value,
        "chance": score.chance,
        "samples": score.labels,
        "leaks": score.leaks,
        "allowed": allowed,
    }


def label_balance(spec: HeadSpec, view: TextView) -> dict[str, Any]:
    """Return how many labels a head has and how they are spread.

    For classes the share of each, for regression mean, deviation and quantiles, for the vocabulary
    the number of distinct tokens; for classes and tokens also the share of the most frequent.
    """
    labels, _ = labels_of(view, spec)
    found: dict[str, Any] = {"labels": len(labels)}
    if not len(labels):
        return found
    kind = head_kind(spec.kind)
    if kind.labels == "token":
        return found | {
            "distinct": len(np.unique(labels)),
            "majority": float(np.bincount(labels).max()) / len(labels),
            "labels_per_sample": len(labels) / len(view.samples),
        }
    if kind.is_regression:
        quantiles = {
            f"{q:g}": float(value)
            for q, value in zip(_QUANTILES, np.quantile(labels, _QUANTILES), strict=True)
        }
        return found | {
            "mean": float(labels.mean()),
            "deviation": float(labels.std()),
            "quantiles": quantiles,
        }
    share = np.bincount(labels, minlength=spec.classes) / len(labels)
    classes = dict(zip(_class_names(spec), share.tolist(), strict=True))
    return found | {"majority": float(share.max()), "classes": classes}


def _class_names(spec: HeadSpec) -> Sequence[str]:
    return spec.class_names or [str(number) for number in range(spec.classes)]
