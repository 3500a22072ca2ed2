"""The verb watch: how far a run is, by its folder."""

from pathlib import Path
from typing import Any

from ernie_cmtl.report.alerts import alerts
from ernie_cmtl.report.runs import ReportedRun, TrainLine, read_run

_RECENT = 10
"""Lines of the log that speed and remaining time are taken from."""
_POINTS = 24
"""Of the curve of each head."""


def watch(folder: Path) -> dict[str, Any]:
    """Return step, speed, remaining seconds, scores of each head and warnings of a run, also of one
    that trains at this moment.

    Raises:
        UserError: It is no run folder.
    """
    run = read_run(folder, folder.name)
    recent = run.train[-_RECENT:]
    newest = recent[-1] if recent else None
    stage = run.table.stages[run.table.stage_of(min(run.steps, run.table.steps - 1))]
    return {
        "run": str(folder),
        "step": run.steps,
        "steps": run.table.steps,
        "stage": stage.name,
        "tasks": list(stage.budgets),
        "real_tokens_per_second": newest and newest.real_tokens_per_second,
        "learning_rate": newest and newest.learning_rate,
        "seconds_left": _seconds_left(recent, run.table.steps),
        "logged": newest and newest.time,
        "heads": _heads(run),
        "warnings": alerts(run),
    }


def _seconds_left(recent: list[TrainLine], steps: int) -> float | None:
    """Return how long a run still takes at the speed of its newest lines; None where that is not
    known.
    """
    if len(recent) < 2 or recent[-1].step <= recent[0].step:
        return None
    seconds = (recent[-1].time - recent[0].time) / (recent[-1].step - recent[0].step)
    return max(0.0, seconds * (steps - recent[-1].step))


def _heads(run: ReportedRun) -> dict[str, dict[str, Any]]:
    """Return of each head its newest scores, and the curve of its training loss."""
    found: dict[str, dict[str, Any]] = {}
    for line in run.train:
        for name, score in line.tasks.items():
            head = found.setdefault(name, {"losses": []})
            head |= {"loss": score.loss, "accuracy": score.accuracy}
            head["losses"] = [*head["losses"], score.loss][-_POINTS:]
    for heldout in run.heldout:
        for name, score in heldout.tasks.items():
            head = found.setdefault(name, {"losses": []})
            head |= {"heldout_loss": score.loss, "heldout_accuracy": score.accuracy}
    return found
