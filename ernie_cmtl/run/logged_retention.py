"""The retention of a run, from the held-out scores that it has logged."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ernie_cmtl.atomic_files import write_text
from ernie_cmtl.evaluation.retention import Measurement, Stages, retention, tidy_table
from ernie_cmtl.run.folder import RunFolder
from ernie_cmtl.scheduling.stages import StageTable
from ernie_cmtl.training.metrics import read_metrics


def write_retention(folder: RunFolder, table: StageTable) -> None:
    """Write what a run has measured so far to `retention.csv` in its folder, all or nothing."""
    write_text(folder.retention, tidy_table(_measurements(folder.metrics), stages_of(table)))


def run_retention(metrics: Path, table: StageTable, last: int) -> dict[str, Any]:
    """Return matrix, measures and summary (`evaluation.retention`) of what a run measured up to a
    step, by its log.
    """
    return retention(
        [measured for measured in _measurements(metrics) if measured.step <= last], stages_of(table)
    )


def newest_losses(metrics: Path, last: int) -> tuple[int | None, dict[str, float]]:
    """Return the step of the newest held-out measurement up to a step, and its losses by
    `<instance>/<head>`; (None, {}) where there is none.
    """
    found = [measured for measured in _measurements(metrics) if measured.step <= last]
    if not found:
        return None, {}
    newest = max(found, key=lambda measured: measured.step)
    return newest.step, {name: score["loss"] for name, score in newest.scores.items()}


def stages_of(table: StageTable) -> Stages:
    """Return what the measures need to know of a stage table."""
    introduced: dict[str, int] = {}
    for number, stage in enumerate(table.stages, 1):
        for task in stage.budgets:
            introduced.setdefault(task, number)
    return Stages(tuple(stage.name for stage in table.stages), table.ends, introduced)


def _measurements(metrics: Path) -> list[Measurement]:
    # Where a finished run is extended it may be measured again, now with the new task.
    return measurements_of(
        {line["step"]: line["tasks"] for line in read_metrics(metrics, "heldout")}
    )


def measurements_of(by_step: Mapping[int, Mapping[str, Mapping[str, Any]]]) -> list[Measurement]:
    """Return measurements; by_step: steps completed -> `<task>/<head>` -> score."""
    return [Measurement(step, scores) for step, scores in by_step.items()]
