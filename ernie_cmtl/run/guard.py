"""Steps that were skipped because their loss or gradient was not finite: named for replay, and too many in a row end a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ernie_cmtl.errors import UserError
from ernie_cmtl.training.metrics import read_metrics
from ernie_cmtl.training.trainer import StepResult
from ernie_cmtl.training.workers import Workers

GRADIENT = "gradient"
"""Counts in place of a task where every loss was finite."""


@dataclass
class Guard:
    """Looks at the steps between two lines of the log; every worker comes to the same result."""

    tasks: Sequence[str]
    limit: int
    workers: Workers
    in_a_row: int = 0
    exceeded_at: int | None = None

    def skipped(self, results: Sequence[StepResult]) -> list[dict[str, Any]]:
        """Return a line for each skipped step: steps completed, tasks and groups whose loss was not finite."""
        flags = torch.stack([result.skipped for result in results]).tolist() if results else []
        lines = []
        for result, flag in zip(results, flags, strict=True):
            self.in_a_row = self.in_a_row + 1 if flag else 0
            if flag:
                lines.append(self._line(result))
                if self.in_a_row == self.limit and self.exceeded_at is None:
                    self.exceeded_at = result.ledger.step
        return lines

    def _line(self, result: StepResult) -> dict[str, Any]:
        broken = self.workers.sum(result.not_finite).cpu() > 0
        tasks = [self.tasks[task] for task in broken.any(0).nonzero().flatten().tolist()]
        return {"step": result.ledger.step, "tasks": tasks or [GRADIENT], "groups": broken.any(1).nonzero().flatten().tolist()}

    def check(self) -> None:
        """End a run that no longer learns.

        Raises:
            UserError: So many steps in a row as `training.skipped_steps_limit` allows were skipped.
        """
        if self.exceeded_at is not None:
            raise UserError(
                f"the loss or gradient of {self.limit} steps in a row, up to step {self.exceeded_at}, was not finite; "
                "metrics.jsonl names their tasks and groups (skipped). "
                "Lower optimizer.learning_rate, or raise training.skipped_steps_limit"
            )


def skipped_by_task(folder: Path) -> dict[str, int]:
    """Return the skipped steps of a run for each task whose loss was not finite in them, from its log."""
    counts: dict[str, int] = {}
    for line in read_metrics(folder, "skipped"):
        for task in line["tasks"]:
            counts[task] = counts.get(task, 0) + 1
    return counts
