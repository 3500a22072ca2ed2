"""How a run goes on: what is summed up between two lines of the log, and who is told of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ernie_cmtl.evaluation.heldout import HeadScore
from ernie_cmtl.scheduling.feedback import Decision
from ernie_cmtl.training.trainer import StepResult, Trainer


@dataclass
class Window:
    """Steps since the last line of the log, and sums over those that were not skipped."""

    statistics: torch.Tensor
    loss: torch.Tensor
    results: list[StepResult] = field(default_factory=list)
    real_tokens: int = 0
    slots: int = 0
    wait_seconds: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    @staticmethod
    def of(trainer: Trainer) -> "Window":
        """Return one without steps."""
        model, device = trainer.model, trainer.workers.device
        shape = (len(model.specs), model.tasks + 1, 3)
        return Window(torch.zeros(shape, device=device), torch.zeros((), device=device))

    def add(self, result: StepResult) -> None:
        """Take a step in; nothing is read back from the device."""
        self.statistics += torch.where(result.skipped, 0.0, result.statistics)
        self.loss += torch.where(result.skipped, 0.0, result.loss)
        self.results.append(result)
        self.real_tokens += result.real_tokens
        self.slots += result.slots
        self.wait_seconds += result.wait_seconds

    def restart_clock(self) -> None:
        """Leave what was done since the last line out of the time, if no step has been taken."""
        if not self.results:
            self.started = time.perf_counter()


class Observer:
    """Is told of a run; shows nothing unless a class derived from it does."""

    def started(self, steps: int, done: int, workers: int, precision: str) -> None:
        """The run begins or goes on."""

    def reallocated(self, before: int, line: dict[str, Any]) -> None:
        """The run goes on with another number of workers than before; line: what each of them takes
        over.
        """

    def fell_back(self, step: int, damaged: list[str]) -> None:
        """Newer checkpoints are damaged, each for a reason, so the run resumes from this step."""

    def changed(self, settings: dict[str, tuple[Any, Any]]) -> None:
        """The run goes on with other settings than its checkpoint was made with: dotted key ->
        (old, new).
        """

    def stepped(self, step: int) -> None:
        """So many steps are done; nothing has been read back from the device."""

    def skipped(self, line: dict[str, Any]) -> None:
        """A step was skipped, its loss or gradient not being finite or too large; line: as in the
        log.
        """

    def unwritten(self, problem: str) -> None:
        """The disk or a tracker does not take what is logged, or does so again; the run goes on."""

    def logged(self, stage: str, line: dict[str, Any]) -> None:
        """A line of training metrics was written."""

    def evaluated(self, stage: str, step: int, scores: dict[str, HeadScore]) -> None:
        """Held-out scores were measured."""

    def decided(self, stage: str, decision: Decision) -> None:
        """Budgets moved by feedback."""

    def weighed(self, stage: str, step: int, weights: Mapping[str, float]) -> None:
        """Losses weigh something else by what was measured; weights: by `<instance>/<head>`."""

    def compared(self, stage: str, step: int, line: Mapping[str, Any]) -> None:
        """Gradients of tasks were compared, and groups may have split; line: as in the log."""

    def stopped(self, step: int, reason: str) -> None:
        """The run has saved this step and stops before its end, for a reason."""
