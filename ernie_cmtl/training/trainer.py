"""The step: groups of rows forward and backward, one reduction, one update."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from ernie_cmtl.data.loader import StepSource, load_steps
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.model.task_parameters import idle_parameters
from ernie_cmtl.randomness import derive_key
from ernie_cmtl.records import Ledger, StepData
from ernie_cmtl.scheduling.stages import StageTable
from ernie_cmtl.task_instance import TaskInstance
from ernie_cmtl.training.clock import untimed
from ernie_cmtl.training.device import keep_freed_memory
from ernie_cmtl.training.distributed import Workers
from ernie_cmtl.training.gradient_spikes import Spikes
from ernie_cmtl.training.learning_rate import learning_rate
from ernie_cmtl.training.loss_weighting import (
    LossWeighting,
    LossWeightingConfig,
    build_loss_weighting,
)
from ernie_cmtl.training.optimizer import OptimizerConfig, build_optimizer
from ernie_cmtl.training.sharding import clip_gradients, whole


@dataclass(frozen=True)
class StepResult:
    """What a step did, the same on every worker except where said."""

    step: int
    ledger: Ledger
    """After the step."""
    loss: Tensor
    """Of this worker's groups; sums over the workers to the loss of the step."""
    statistics: Tensor
    """Of this worker's groups: float32 [heads, tasks + 1, 3], sums of losses, hits and labels."""
    gradient_norm: Tensor
    distance: Tensor | None
    """Sum of squared distances of softly shared parameters from their means, before the step."""
    skipped: Tensor
    """Loss or gradient were not finite or too large, so weights and moments are as before; one
    bool, on the device.
    """
    not_finite: Tensor
    """Is the loss of a task not finite in a group of this worker's, int32 [groups of the step,
    tasks].
    """
    learning_rate: float
    real_tokens: int
    """In this worker's groups."""
    slots: int
    wait_seconds: float
    """How long the step waited for its data."""
    interrupted: bool
    """Some worker was asked to stop."""
    out_of_time: bool
    """The main worker's time is up."""

    @property
    def stops(self) -> bool:
        """Is this the last step, as the run was asked to stop or its time is up."""
        return self.interrupted or self.out_of_time


class Trainer:
    """Model, optimizer and workers of a run."""

    def __init__(
        self,
        model: MultiTaskModel,
        instances: Sequence[TaskInstance],
        config: OptimizerConfig,
        workers: Workers,
        table: StageTable,
        seed: int,
        spikes: Spikes | None = None,
        loss_weighting: LossWeighting | None = None,
    ) -> None:
        """loss_weighting: None means weights that are set by hand."""
        if workers.device.type == "cpu":
            keep_freed_memory()
        self.workers, self.config, self.table, self.seed = workers, config, table, seed
        self.spikes = spikes
        self.rows = [instance.rows for instance in instances]
        self.model = model
        self.wrapped = workers.wrap(model)
        self.optimizer = build_optimizer(model, config, model.family.norms, model.family.matrices)
        self.loss_weighting = loss_weighting or build_loss_weighting(
            LossWeightingConfig(), model.specs, instances
        )
        self._order_is_settled = workers.count == 1
        self.stop_requested = False
        self.deadline = math.inf
        """On the clock of `time.monotonic`."""
        self.timed: Callable[[str], AbstractContextManager[None]] = untimed
        """Is told of each phase of a step."""

    def request_stop(self) -> None:
        """Let all workers stop after the running step."""
        self.stop_requested = True

    def release(self) -> None:
        """Let go of the wrapper; no step can be taken afterwards."""
        self.wrapped = self.model

    def run(self, source: StepSource) -> Iterator[StepResult]:
        """Take the steps of a source, yielding after each; the caller logs, evaluates and saves in
        between.
        """
        self.wrapped.train()
        steps = iter(load_steps(source))
        while True:
            start = time.perf_counter()
            data = next(steps, None)
            if data is None:
                return
            if not self._order_is_settled:
                self._settle_order(data)
            yield self.step(data, time.perf_counter() - start)

    def _settle_order(self, data: StepData) -> None:
        """Let the wrapper find its order of reducing gradients, which it changes after its first
        backward pass.

        Sums over more than two workers depend on it in their last bit, so a run that goes on has to
        begin with the final order.
        """
        nothing = torch.zeros(
            (len(self.model.specs), self.model.tasks + 1),
            dtype=self._dtype,
            device=self.workers.device,
        )
        first = self.model.on_device(data.groups[0], self.workers.device)
        self.wrapped(first, nothing)[0].backward()
        self.optimizer.zero_grad()
        self._order_is_settled = True

    def step(self, data: StepData, wait_seconds: float = 0.0) -> StepResult:
        """Take one step on this worker's groups; wait_seconds: how long its data was waited for."""
        begun = self.model.begin(data.step)
        if self.model.sharing.splitting:
            # These parameters have been trained until now, in another place.
            self.optimizer.copy_state(begun)
        self.model.route(data.step)
        with self.timed("communication"):
            labels, stops = self._count_labels(data)
        coefficients = self._coefficients(labels, data)
        loss = torch.zeros((), device=self.workers.device)
        statistics = torch.zeros(
            (*labels.shape[:1], labels.shape[1] + 1, 3), device=self.workers.device
        )
        groups = len(data.groups) * self.workers.count
        not_finite = torch.zeros(
            (groups, labels.shape[1]), dtype=torch.int32, device=self.workers.device
        )
        for number, group in enumerate(data.groups):
            # Dropout belongs to the group, not to the worker that happens to run it.
            global_number = number * self.workers.count + self.workers.rank
            torch.manual_seed(derive_key(self.seed, "dropout", data.step, global_number) >> 1)
            with self.workers.gradients(self.wrapped, reduced=number == len(data.groups) - 1):
                with self.timed("forward"):
                    batch_loss, sums = self.wrapped(
                        self.model.on_device(group, self.workers.device), coefficients
                    )
                with self.timed("backward"):
                    # The reduction is a mean over workers; the loss is a sum over them.
                    (batch_loss * self.workers.count).backward()
            loss += batch_loss.detach()
            statistics += sums
            not_finite[global_number] = ~sums[:, :-1, 0].isfinite().all(0)
        rate = learning_rate(data.step, self.table.ends, self.config, self.table.restarts)
        with self.timed("optimizer"):
            norm, distance, skipped = self._update(data.step, labels, self.workers.sum(loss), rate)
        counts = (data.real_tokens, data.slots)
        guard = (skipped, not_finite)
        return StepResult(
            data.step,
            data.ledger,
            loss,
            statistics,
            norm,
            distance,
            *guard,
            rate,
            *counts,
            wait_seconds,
            *stops,
        )

    def _update(
        self, step: int, labels: Tensor, loss: Tensor, rate: float
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Move the weights, unless the step is to be skipped; return the gradient's norm, the
        distance of softly shared parameters, and whether it was.
        """
        for parameter in idle_parameters(self.model, labels > 0, self.rows):
            parameter.grad = None
        # After the reduction, so that it counts once, whatever the workers.
        distance = self.model.pull_together(step)
        norm = clip_gradients(self.model.parameters(), self.config.clip_norm)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = rate
        skipped = ~(norm.isfinite() & loss.isfinite())
        if self.spikes:
            skipped = self.spikes.skips(step, norm, skipped)
        self.optimizer.step_unless(skipped)
        self.optimizer.zero_grad()
        return norm, None if distance is None else whole(distance), skipped

    def _count_labels(self, data: StepData) -> tuple[Tensor, tuple[bool, bool]]:
        """Return the labels of each head and task over all workers, int64 [heads, tasks], and
        (interrupted, out of time).
        """
        tasks = self.model.tasks
        counts = torch.zeros((len(self.model.specs), tasks), dtype=torch.int64)
        for group in data.groups:
            for row, name in enumerate(self.model.specs):
                numbers = torch.from_numpy(group.targets[name].tasks)
                counts[row] += torch.bincount(numbers[numbers >= 0], minlength=tasks)
        # Clocks differ, so one worker's decides.
        late = self.workers.is_main and time.monotonic() >= self.deadline
        message = torch.cat([counts.flatten(), torch.tensor([int(self.stop_requested), int(late)])])
        message = self.workers.sum_on_host(message)
        return message[:-2].view_as(counts), (bool(message[-2]), bool(message[-1]))

    def _coefficients(self, labels: Tensor, data: StepData) -> Tensor:
        """Return what one label of (head, task) counts, with a column of zeros for idle heads;
        [heads, tasks + 1].
        """
        weights = self.loss_weighting.coefficients(labels, data.shares, data.step)
        padded = torch.nn.functional.pad(weights, (0, 1))
        return padded.to(self.workers.device, self._dtype)

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype
