"""The retention matrix: how each task does on held-out text after every stage, and what the stages
did to one another.

R[t, i] is the score of head i at the end of stage t = 1..T, R[0, i] the one before the first step;
s is the stage in which the task of the head first has a budget. T is the last stage whose end was
measured.

- backward_transfer: R[T, i] - R[s, i], of tasks that began before stage T (Lopez-Paz and Ranzato
  2017, arXiv 1706.08840);
- forward_transfer: R[s - 1, i] - R[0, i], of tasks that began after stage 1 (the same);
- forgetting: max over t = 1..T-1 of R[t, i], less R[T, i], of tasks that began before stage T
  (Chaudhry et al. 2018, arXiv 1801.10112);
- stability_gap: R[t - 1, i] less the worst value measured in stage t, mean over the stages t > s
  that were measured before their end too (after De Lange et al. 2023, arXiv 2205.13452).

These are in accuracy. A loss is normalised first, (L[t, i] - min) / (L[0, i] - min) with the
minimum over t = 0..T: 0 is the best that was reached, 1 is as before training. Less is better
there, so differences change their sign: transfer is good where it is positive, forgetting and
stability gap are bad. What was not measured is missing (None), never zero.
"""

import csv
import io
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

START = "start"
"""Name of the place in the table that stands before the first step."""
_COLUMNS = ("stage", "step", "task", "head", "metric", "value")
_METRICS = ("loss", "accuracy", "majority", "labels")
_DIFFERENCES = ("backward_transfer", "forward_transfer", "forgetting", "stability_gap")
_SIGNS = {"accuracy": 1, "normalised_loss": -1}
"""Score -> 1 where more is better, -1 where less is."""


@dataclass(frozen=True)
class Stages:
    """What the measures need to know of a stage table."""

    names: tuple[str, ...]
    ends: tuple[int, ...]
    """Steps completed at the end of each stage."""
    introduced: Mapping[str, int]
    """Task -> number of the first stage that has a budget for it, from 1."""

    def number(self, step: int) -> int:
        """Return the stage, from 1, that a step is the last one of or lies in; 0 before the first
        step.
        """
        return bisect_left((0, *self.ends), step)

    def name(self, number: int) -> str:
        """Return the name of a stage, counted from 1, or of what is before the first."""
        return (START, *self.names)[number]


@dataclass(frozen=True)
class Measurement:
    """A held-out evaluation."""

    step: int
    """Steps completed."""
    scores: Mapping[str, Mapping[str, Any]]
    """`<task>/<head>` -> loss, accuracy (None: it has none), majority and labels."""


def tidy_table(measurements: Iterable[Measurement], stages: Stages) -> str:
    """Return every measured value as CSV, a row each: stage, step, task, head, metric, value."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for measured in measurements:
        stage = stages.name(stages.number(measured.step))
        for name, score in measured.scores.items():
            task, _, head = name.partition("/")
            rows = (
                (stage, measured.step, task, head, metric, score.get(metric)) for metric in _METRICS
            )
            writer.writerows(row for row in rows if row[-1] is not None)
    return stream.getvalue()


def retention(measurements: Sequence[Measurement], stages: Stages) -> dict[str, Any]:
    """Return the matrix, the measures of each head and their summary.

    `matrix`: a row for the start and for each stage's end, with `stage`, `step` and `tasks`
    (`<task>/<head>` -> loss, accuracy, majority). `heads`: score (accuracy, normalised_loss) ->
    `<task>/<head>` -> measure; `final` is R[T, i]. `summary`: score -> measure, the mean over the
    tasks that have it, a task's heads averaged first; `average` is that of `final`.
    """
    by_step = {measured.step: measured for measured in measurements}
    last = max((number for number, end in enumerate(stages.ends, 1) if end in by_step), default=0)
    steps = (0, *stages.ends[:last])
    losses = _series(measurements, "loss")
    series = {
        "accuracy": _series(measurements, "accuracy"),
        "normalised_loss": {head: _normalised(values, steps) for head, values in losses.items()},
    }
    heads = {
        score: {
            head: _measures(
                values, _SIGNS[score], stages.introduced[head.partition("/")[0]], steps, stages
            )
            for head, values in by_head.items()
        }
        for score, by_head in series.items()
    }
    matrix = [
        {"stage": stages.name(number), "step": step, "tasks": _without_groups(by_step[step])}
        for number, step in enumerate(steps)
        if step in by_step
    ]
    return {
        "matrix": matrix,
        "heads": heads,
        "summary": {score: _summary(found) for score, found in heads.items()},
    }


def _without_groups(measured: Measurement) -> dict[str, dict[str, Any]]:
    return {
        head: {name: score.get(name) for name in ("loss", "accuracy", "majority")}
        for head, score in measured.scores.items()
    }


def _series(measurements: Iterable[Measurement], metric: str) -> dict[str, dict[int, float]]:
    """Return head -> step -> value of a metric, of what was measured."""
    found: dict[str, dict[int, float]] = {}
    for measured in measurements:
        for head, score in measured.scores.items():
            if score.get(metric) is not None:
                found.setdefault(head, {})[measured.step] = score[metric]
    return found


def _normalised(losses: Mapping[int, float], steps: Sequence[int]) -> dict[int, float]:
    """Return losses as parts of what was learned by the best of `steps`; nothing if that is unknown
    or nothing was learned.
    """
    best = min((losses[step] for step in steps if step in losses), default=0.0)
    span = losses.get(0, best) - best
    return {step: (loss - best) / span for step, loss in losses.items()} if span > 0 else {}


def _measures(
    values: Mapping[int, float], sign: int, introduced: int, steps: Sequence[int], stages: Stages
) -> dict[str, Any]:
    """Return the measures of a head; values: step -> score; steps: of the start and of each stage's
    end.
    """
    last = len(steps) - 1
    ends = [values.get(step) for step in steps]
    known, old = introduced <= last, introduced < last
    best = max(
        (value for value in ends[1:last] if value is not None),
        key=lambda value: sign * value,
        default=None,
    )
    gaps = {
        stages.name(number): gap
        for number in range(introduced + 1, last + 1)
        if (gap := _fall(values, sign, steps[number - 1], steps[number])) is not None
    }
    return {
        "final": ends[last] if known else None,
        "backward_transfer": _gain(ends[introduced], ends[last], sign) if old else None,
        "forward_transfer": _gain(ends[0], ends[introduced - 1], sign)
        if 1 < introduced <= last + 1
        else None,
        "forgetting": _gain(ends[last], best, sign) if old else None,
        "stability_gap": fmean(gaps.values()) if gaps else None,
        "stability_gaps": gaps,
    }


def _gain(before: float | None, after: float | None, sign: int) -> float | None:
    return None if before is None or after is None else sign * (after - before)


def _fall(values: Mapping[int, float], sign: int, start: int, end: int) -> float | None:
    """Return how far a score fell below its value at the start of a stage; None if it was not
    measured before the end.
    """
    inside = {step: value for step, value in values.items() if start < step <= end}
    if min(inside, default=end) == end:
        return None
    return _gain(min(inside.values(), key=lambda value: sign * value), values.get(start), sign)


def _summary(heads: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    measures = {"average": "final"} | {name: name for name in _DIFFERENCES}
    return {
        name: _mean_over_tasks({head: found[key] for head, found in heads.items()})
        for name, key in measures.items()
    }


def _mean_over_tasks(values: Mapping[str, float | None]) -> float | None:
    by_task: dict[str, list[float]] = {}
    for head, value in values.items():
        if value is not None:
            by_task.setdefault(head.partition("/")[0], []).append(value)
    return fmean(fmean(found) for found in by_task.values()) if by_task else None
