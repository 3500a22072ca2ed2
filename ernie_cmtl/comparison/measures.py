"""Results of several models -> one table of values and of differences from the first model, with
95 % intervals.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ernie_cmtl.evaluation.intervals import (
    Difference,
    correlation_difference,
    mean_interval,
    paired_difference,
    paired_shares,
)
from ernie_cmtl.evaluation.minimal_pairs import Pair, accuracy_of
from ernie_cmtl.evaluation.similarity import ScoredPair, correlate
from ernie_cmtl.records import Array

RESULT = "comparison.json"
"""File of a comparison in the folder that keeps it."""


@dataclass(frozen=True)
class Estimate:
    """What a model reached."""

    value: float
    interval: tuple[float, float] | None
    """None for a single seed, which has no spread."""
    difference: float | None
    """From the first model; None of the first model itself, and where nothing is paired."""
    difference_interval: tuple[float, float] | None


@dataclass(frozen=True)
class Measure:
    """One score of all models."""

    name: str
    count: str
    """What the interval is over."""
    reference: float | None
    """The score of the most frequent class or of chance, where there is one."""
    models: dict[str, Estimate]
    """By the names of the models; the first one is what the others are compared with."""

    def as_json(self) -> dict[str, Any]:
        """Return the same as values of JSON."""
        return asdict(self)


def recipe_measure(task: str, results: Mapping[str, Mapping[str, Any]]) -> Measure:
    """Compare what `finetune` returned for each model; differences are paired by seed."""
    first = next(iter(results.values()))
    metric, split = first["metric"], first["split"]
    by_seed = {
        name: {
            run["seed"]: run[split][metric]
            for run in result["runs"]
            if run["learning_rate"] == result["learning_rate"]
        }
        for name, result in results.items()
    }
    baseline = next(iter(by_seed.values()))
    estimates = {
        name: _estimate(
            results[name]["mean"],
            mean_interval(list(scores.values())),
            None if scores is baseline else paired_difference(scores, baseline),
        )
        for name, scores in by_seed.items()
    }
    majority = first["majority"].get(split, {}).get(metric)
    return Measure(f"{task}: {metric} on {split}", f"{len(baseline)} seed(s)", majority, estimates)


def pairs_measure(
    file: str, pairs: Sequence[Pair], hits: Mapping[str, Sequence[bool]]
) -> tuple[Measure, dict[str, Any]]:
    """Compare the share of minimal pairs that each model answers rightly; differences are paired by
    minimal pair. The second value has the accuracies of each model, by group too.
    """
    details = {name: accuracy_of(pairs, found) for name, found in hits.items()}
    baseline = next(iter(hits.values()))
    estimates = {
        name: _estimate(
            details[name]["accuracy"],
            tuple(details[name]["interval"]),
            None if found is baseline else paired_shares(found, baseline),
        )
        for name, found in hits.items()
    }
    chance = next(iter(details.values()))["chance"]
    name = f"minimal pairs of {file}: accuracy"
    return Measure(name, f"{len(pairs):,} pairs", chance, estimates), details


def similarity_measures(
    file: str, pairs: Sequence[ScoredPair], cosines: Mapping[str, Mapping[str, Array]]
) -> tuple[list[Measure], dict[str, Any]]:
    """Compare how the similarity of embeddings correlates with that of people, for each way of
    pooling; differences are paired by row. The second value has the correlations of each model.
    """
    details = {name: correlate(found, pairs) for name, found in cosines.items()}
    return list(_similarities(file, pairs, cosines, details)), details


def _similarities(
    file: str,
    pairs: Sequence[ScoredPair],
    cosines: Mapping[str, Mapping[str, Array]],
    details: Mapping[str, Any],
) -> Iterator[Measure]:
    scores = np.array([pair.score for pair in pairs])
    first = next(iter(cosines.values()))
    for pooling, baseline in first.items():
        estimates = {
            name: _estimate(
                details[name][pooling]["pearson"],
                tuple(interval) if (interval := details[name][pooling]["interval"]) else None,
                None
                if found is first
                else correlation_difference(found[pooling], baseline, scores),
            )
            for name, found in cosines.items()
        }
        label = f"similarity of {file}, {pooling} embedding: Pearson"
        yield Measure(label, f"{len(pairs):,} pairs", None, estimates)


def _estimate(
    value: float, interval: tuple[float, ...] | None, difference: Difference | None
) -> Estimate:
    ends = None if interval is None else (interval[0], interval[1])
    mean, of_difference = difference or (None, None)
    return Estimate(float(value), ends, mean, of_difference)
