"""What a reader should know before anything else: what went wrong in a run, or may mislead."""

from collections import Counter
from collections.abc import Iterator
from statistics import fmean

from ernie_cmtl.report.runs import ReportedRun

FEW_LABELS = 100
"""A score of fewer held-out labels says little."""
LONG_WAIT = 0.2
"""Part of the time that training waits for data."""
FORGOTTEN = 0.05
"""Accuracy below the best of earlier stages."""


def alerts(run: ReportedRun) -> list[str]:
    """Return the warnings of a run, in plain text."""
    found = [*run.problems, *_of_steps(run), *_of_speed(run), *_of_heads(run), *_of_retention(run)]
    return [f"{run.name}: {text}" for text in found]


def _of_steps(run: ReportedRun) -> Iterator[str]:
    if run.steps < run.table.steps:
        yield (
            f"the run is at step {run.steps:,} of {run.table.steps:,}; if it does not train, the "
            "same command resumes it"
        )
    if skipped := list(run.events_of("skipped")):
        tasks = Counter(task for line in skipped for task in line.get("tasks") or ["unknown"])
        counts = ", ".join(f"{task} {count:,}" for task, count in tasks.most_common())
        yield f"skipped steps: {len(skipped):,} ({counts}); their updates are missing"
    for line in run.events_of("damaged"):
        count = len(line.get("checkpoints") or [])
        yield f"damaged checkpoints: {count}; the run fell back to step {line.step:,}"


def _of_speed(run: ReportedRun) -> Iterator[str]:
    waits = [line.data_wait_share for line in run.train]
    if waits and fmean(waits) > LONG_WAIT:
        yield (
            f"training waited for data {fmean(waits):.0%} of the time; raise data.loader_workers"
        )


def _of_heads(run: ReportedRun) -> Iterator[str]:
    if not run.heldout:
        return
    trained = {name for line in run.train for name in line.tasks}
    for name, score in run.heldout[-1].tasks.items():
        if name not in trained:
            # Its stage has not begun, so nothing is expected of it.
            continue
        if score.one_class:
            yield f"{name} gives one and the same answer to every held-out sample"
        elif (
            score.accuracy is not None
            and score.majority is not None
            and score.accuracy <= score.majority
        ):
            yield (
                f"{name} is no better than the most frequent class: {score.accuracy:.1%} against "
                f"{score.majority:.1%}"
            )
        if 0 < score.labels < FEW_LABELS:
            yield f"{name} has only {score.labels} held-out labels; its score says little"


def _of_retention(run: ReportedRun) -> Iterator[str]:
    for head, measures in run.retention["heads"]["accuracy"].items():
        forgetting = measures["forgetting"]
        if forgetting is not None and forgetting > FORGOTTEN:
            yield f"{head} forgot {forgetting:.1%} of accuracy since its best stage"
