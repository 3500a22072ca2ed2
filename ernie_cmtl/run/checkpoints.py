"""The checkpoints of a run: room for them, when one is due, what is said in it, and how a damaged
one is passed over.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ernie_cmtl.config import RunConfig
from ernie_cmtl.errors import UserError
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.run.folder import RunFolder
from ernie_cmtl.run.run import Run
from ernie_cmtl.run.splitting import sharing_state
from ernie_cmtl.run.state import RunState
from ernie_cmtl.run.way_back import way_back
from ernie_cmtl.training.background import Background
from ernie_cmtl.training.checkpoint import (
    NotFiniteError,
    Snapshot,
    check_space,
    checkpoints,
    in_host_memory,
    save_checkpoint,
    set_aside_damaged,
    snapshot,
)
from ernie_cmtl.training.distributed import Workers
from ernie_cmtl.training.learning_rate import pinned_steps
from ernie_cmtl.training.trainer import StepResult, Trainer

_log = logging.getLogger(__name__)


@dataclass
class Checkpoints:
    """Saves a run; the main worker writes, the others wait.

    While steps are skipped, nothing is removed, and a checkpoint waits that can wait.
    """

    run: Run
    settings: RunConfig
    """As they stand in the checkpoints: with the encoder's real sizes."""
    workers: Workers
    check_folder: Callable[[], None] = lambda: None
    """Raises where another process has taken the run folder over."""
    background: Background = field(default_factory=Background)
    waits: bool = False
    """One is due since a step that was skipped."""

    @property
    def folder(self) -> Path:
        """Where the checkpoints are."""
        return RunFolder(self.run.config.run).checkpoints

    @cached_property
    def pinned(self) -> frozenset[int]:
        """Steps whose checkpoints are kept for good."""
        config, table = self.run.config, self.run.table
        every = config.training.checkpoints.keep_every or table.steps
        return pinned_steps(table.steps, config.optimizer, table.restarts) | frozenset(
            range(every, table.steps, every)
        )

    def check_space(self, model: MultiTaskModel, done: int) -> None:
        """Refuse a disk without room for what is still to be saved after so many steps.

        Raises:
            UserError: It names what is needed and what is free.
        """
        ahead = sum(step > done for step in self.pinned)
        keep = self.run.config.training.checkpoints.keep
        number = keep + 1 + ahead - len(checkpoints(self.folder))
        self.workers.on_main(lambda: check_space(self.run.config.run, model, number))

    def due(self, result: StepResult) -> bool:
        """Tell whether a run is saved after a step."""
        done = result.ledger.step
        if result.stops or done in self.pinned or done == self.run.table.steps:
            return True
        self.waits = self.waits or done % self.run.config.training.checkpoints.every == 0
        return self.waits and not result.skipped

    def save(self, trainer: Trainer, result: StepResult, feedback: dict[str, Any]) -> None:
        """Save a run as it is after a step; asynchronously, once the save before has ended, where
        the settings say so.

        Raises:
            UserError: The main worker could not, this time or the time before; every worker raises.
        """
        self.settle()
        self.waits = False
        # What was taken before may be what has spoiled the weights.
        keep = None if result.skipped else self.run.config.training.checkpoints.keep
        state = RunState(
            settings=self.settings.model_dump(mode="json"),
            pin=self.run.pin,
            content=self.run.content,
            tasks=list(self.run.table.tasks),
            feedback=feedback,
            workers=self.workers.count,
            precision=self.workers.precision,
            sharing=sharing_state(trainer.model.sharing),
            loss_weighting=trainer.loss_weighting.state(),
            gradient_norms=trainer.spikes.state() if trainer.spikes else [],
        )
        taken = snapshot(trainer.model, trainer.optimizer, result.ledger, state.as_json())
        if not self.asynchronous:
            self.workers.on_main(lambda: self._write(taken, keep))
        elif self.workers.is_main:
            held = in_host_memory(taken)
            # All workers then end their step and come to the next save, where they learn why.
            self.background.start(lambda: self._write(held, keep), failed=trainer.request_stop)

    @property
    def asynchronous(self) -> bool:
        """Does the training go on while a checkpoint is written."""
        return self.run.config.training.checkpoints.asynchronous

    def _write(self, taken: Snapshot, keep: int | None) -> None:
        self.check_folder()
        try:
            save_checkpoint(self.folder, taken, keep, self.pinned)
        except NotFiniteError as error:
            rate = self.run.config.optimizer.learning_rate
            back = way_back(self.run.config.run)
            raise UserError(f"{error}. Lower optimizer.learning_rate ({rate:g}): {back}") from None

    def settle(self) -> None:
        """Wait until what is being written stands.

        Raises:
            UserError: The main worker could not write it; every worker raises.
        """
        if self.asynchronous:
            self.workers.on_main(self.background.wait)

    def close(self) -> None:
        """Let what is being written come to its end, whatever has ended the run."""
        try:
            self.background.wait()
        except UserError as error:
            _log.warning("%s", error)


def pass_over_damaged(folder: Path, workers: Workers) -> list[str]:
    """Set damaged checkpoints of a folder aside, so that the newest one is intact; return what was
    wrong, on the main worker.

    Raises:
        UserError: None is intact; every worker raises.
    """
    found: list[str] = []
    workers.on_main(lambda: found.extend(set_aside_damaged(folder)))
    return found
