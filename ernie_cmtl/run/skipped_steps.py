"""Steps that were skipped because their loss or gradient was not finite or too large: named, and
too many in a row end a run.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ernie_cmtl.data.loader import Shares
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Ledger
from ernie_cmtl.run.replay import batch_line
from ernie_cmtl.run.run import Run
from ernie_cmtl.run.state import RunState
from ernie_cmtl.run.way_back import way_back
from ernie_cmtl.training.distributed import Workers
from ernie_cmtl.training.gradient_spikes import Spikes
from ernie_cmtl.training.metrics import read_metrics
from ernie_cmtl.training.trainer import StepResult

GRADIENT = "gradient"
"""Counts in place of a task where every loss was finite and the gradient was not."""
SPIKE = "spike"
"""Counts in place of a task where all was finite and the gradient too large."""


@dataclass
class SkippedSteps:
    """Looks at the steps between two lines of the log; every worker comes to the same result."""

    run: Run
    workers: Workers
    before: Ledger
    """Before the next step that is looked at."""
    in_a_row: int = 0
    exceeded_at: int | None = None

    @property
    def limit(self) -> int:
        """Skipped steps in a row that end a run."""
        return self.run.config.training.skipping.limit

    def skipped(self, results: Sequence[StepResult], shares: Shares) -> list[dict[str, Any]]:
        """Return a line for each skipped step: steps completed, tasks and groups whose loss was not
        finite, and its batch.

        shares: the plan of the run.
        """
        flags = torch.stack([result.skipped for result in results]).tolist() if results else []
        lines = []
        for result, flag in zip(results, flags, strict=True):
            self.in_a_row = self.in_a_row + 1 if flag else 0
            if flag:
                lines.append(self._line(result, shares))
                if self.in_a_row == self.limit and self.exceeded_at is None:
                    self.exceeded_at = result.ledger.step
            self.before = result.ledger
        return lines

    def _line(self, result: StepResult, shares: Shares) -> dict[str, Any]:
        broken = self.workers.sum(result.not_finite).cpu() > 0
        tasks = [self.run.table.tasks[task] for task in broken.any(0).nonzero().flatten().tolist()]
        groups = broken.any(1).nonzero().flatten().tolist()
        norm = float(result.gradient_norm)
        about = {
            "tasks": tasks or [SPIKE if math.isfinite(norm) else GRADIENT],
            "groups": groups,
            "gradient_norm": finite(norm),
        }
        batch = batch_line(self.run, shares, self.before, groups) if self.workers.is_main else {}
        return {"step": result.ledger.step, **about, **batch}

    def check(self) -> None:
        """End a run that no longer learns.

        Raises:
            UserError: As many steps in a row as `training.skipping.limit` says were skipped.
        """
        if self.exceeded_at is not None:
            config = self.run.config
            back = f": {way_back(config.run)}" if self.workers.is_main else ""
            raise UserError(
                f"the loss or gradient of {self.limit} steps in a row, up to step "
                f"{self.exceeded_at}, was not finite or too large; metrics.jsonl names their "
                "tasks, groups and samples (skipped). Raise training.skipping.limit, or lower "
                f"optimizer.learning_rate ({config.optimizer.learning_rate:g}){back}"
            )


def finite(value: float) -> float | None:
    """Return a number as JSON can hold it."""
    return value if math.isfinite(value) else None


def new_spikes(run: Run, workers: Workers, state: RunState | None) -> Spikes | None:
    """Make what judges gradient norms, if a run has that, as its checkpoint left it; state: of the
    checkpoint.
    """
    skipping = run.config.training.skipping
    if skipping.spike_window is None:
        return None
    # Another mixture of tasks has other gradients.
    spikes = Spikes(
        skipping.spike_window, skipping.spike_sigma, run.table.ends[:-1], workers.device
    )
    spikes.load(state.gradient_norms if state else [])
    return spikes


def skipped_by_task(metrics: Path) -> dict[str, int]:
    """Return the skipped steps of a run for each task whose loss was not finite in them, from its
    log.
    """
    counts: dict[str, int] = {}
    for line in read_metrics(metrics, "skipped"):
        for task in line["tasks"]:
            counts[task] = counts.get(task, 0) + 1
    return counts
