"""A loss or gradient that is not finite or too large: the step changes nothing, is named, can be
made again; many end a run.
"""

import math
import os
import signal
import subprocess
from collections.abc import Collection
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ernie_cmtl.config import RunConfig
from ernie_cmtl.errors import UserError
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.model.tensor_batch import TensorBatch
from ernie_cmtl.records import StepData
from ernie_cmtl.run.replay import replay
from ernie_cmtl.run.run import Run
from ernie_cmtl.training.checkpoint import checkpoints
from ernie_cmtl.training.distributed import Workers
from ernie_cmtl.training.gradient_spikes import Spikes
from ernie_cmtl.training.trainer import StepResult, Trainer
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.runs import (
    Watcher,
    final_tensors,
    logged_lines,
    same_tensors,
    trace,
    with_training,
)

MASKING, CAPITALS = 0, 1
"""Rows of the tasks of the tiny run."""


class Steps(Watcher):
    """Remembers the skipped steps that it is told of."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[dict[str, Any]] = []

    def skipped(self, line: dict[str, Any]) -> None:
        self.told.append(line)


def poison(
    monkeypatch: pytest.MonkeyPatch, groups: Collection[int], task: int, value: float = math.nan
) -> None:
    """Spoil the loss of a task in the groups of those numbers, counted over all steps; a step of
    the tiny run has four.
    """
    real = MultiTaskModel.forward
    calls = iter(range(10**6))

    def forward(
        self: MultiTaskModel, batch: TensorBatch, coefficients: Tensor
    ) -> tuple[Tensor, Tensor]:
        loss, sums = real(self, batch, coefficients)
        if self.training and next(calls) in groups:
            sums = sums.clone()
            sums[:, task, 0] += value
            loss = loss * value
        return loss, sums

    monkeypatch.setattr(MultiTaskModel, "forward", forward)


@pytest.fixture
def trainer(tiny_config: RunConfig) -> Trainer:
    run = Run(tiny_config)
    return run.new_trainer(run.new_model(), Workers("fp32"))


def take(trainer: Trainer, config: RunConfig, steps: int) -> list[StepResult]:
    run = Run(config)
    return list(trainer.run(run.steps_from(run.first_ledger(), steps, 0, 1)))


def state(trainer: Trainer) -> list[Tensor]:
    moments = [
        value
        for parameter in trainer.model.parameters()
        for value in trainer.optimizer.state[parameter].values()
    ]
    return [value.clone() for value in (*trainer.model.parameters(), *moments)]


def unchanged(before: list[Tensor], after: list[Tensor]) -> bool:
    return len(before) == len(after) and all(
        torch.equal(a, b) for a, b in zip(before, after, strict=True)
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_step_with_a_loss_that_is_not_finite_changes_no_bit(
    trainer: Trainer, tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    assert not any(result.skipped for result in take(trainer, tiny_config, 2))
    before = state(trainer)
    poison(monkeypatch, {2}, MASKING, value)
    (result,) = take(trainer, tiny_config, 1)
    assert result.skipped
    assert result.not_finite[:, MASKING].tolist() == [0, 0, 1, 0]
    assert unchanged(before, state(trainer))
    (result,) = take(trainer, tiny_config, 1)
    assert not result.skipped
    assert not unchanged(before, state(trainer))


def test_a_step_with_a_gradient_that_is_not_finite_changes_no_bit(
    trainer: Trainer, tiny_config: RunConfig
) -> None:
    take(trainer, tiny_config, 1)
    before = state(trainer)
    weight = trainer.model.encoder.embeddings.word_embeddings.weight
    hook = weight.register_hook(lambda gradient: gradient * math.inf)
    (result,) = take(trainer, tiny_config, 1)
    hook.remove()
    assert result.skipped
    assert math.isfinite(result.loss)
    assert not result.not_finite.any()
    assert unchanged(before, state(trainer))


def test_a_loss_that_is_not_finite_on_another_worker_skips_the_step_here(
    trainer: Trainer, tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(trainer, tiny_config, 1)
    before = state(trainer)
    # The only single number that the workers of a step sum up is the loss.
    monkeypatch.setattr(
        trainer.workers, "sum", lambda values: values + math.inf if values.ndim == 0 else values
    )
    (result,) = take(trainer, tiny_config, 1)
    assert result.skipped
    assert math.isfinite(result.loss)
    assert unchanged(before, state(trainer))


def test_a_step_with_a_gradient_that_is_far_too_large_changes_no_bit(
    trainer: Trainer, tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.spikes = Spikes(2, 20.0, (), trainer.workers.device)
    assert not any(result.skipped for result in take(trainer, tiny_config, 3))
    before = state(trainer)
    poison(monkeypatch, {2}, MASKING, 1e4)
    (result,) = take(trainer, tiny_config, 1)
    assert result.skipped
    assert math.isfinite(result.gradient_norm)
    assert unchanged(before, state(trainer))


def spiky(config: RunConfig) -> RunConfig:
    return with_training(config, skipping={"spike_window": 2, "spike_sigma": 50.0})


def test_a_spike_is_named_and_the_window_of_a_run_that_goes_on_is_that_of_the_checkpoint(
    tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = spiky(tiny_config.model_copy(update={"run": tmp_path / "whole"}))
    watcher = Steps()
    with monkeypatch.context() as patch:
        # Group 1 of step 9, the third of its stage after the two that fill the window and one more.
        poison(patch, {33}, MASKING, 1e4)
        assert pretrain(whole, watcher)["skipped"] == {"spike": 1}
    (line,) = watcher.told
    assert (line["step"], line["tasks"], line["groups"]) == (9, ["spike"], [])
    assert line["gradient_norm"] > 1e3
    pretrain(spiky(tiny_config), Watcher(interrupt_at=7))
    with monkeypatch.context() as patch:
        # The first step after the one that was saved.
        poison(patch, {1}, MASKING, 1e4)
        assert pretrain(spiky(tiny_config), Watcher())["skipped"] == {"spike": 1}
    assert trace(tiny_config.run) == trace(whole.run)
    assert same_tensors(final_tensors(tiny_config.run), final_tensors(whole.run))


@pytest.mark.parametrize("mode", ["mixed", "one_task"])
def test_the_batch_of_a_skipped_step_can_be_made_again_from_its_line(
    tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    config = tiny_config.model_copy(update={"mode": mode})
    seen: dict[int, StepData] = {}
    real = Trainer.step

    def step(self: Trainer, data: StepData, wait_seconds: float = 0.0) -> StepResult:
        seen[data.step] = data
        return real(self, data, wait_seconds)

    monkeypatch.setattr(Trainer, "step", step)
    poison(monkeypatch, {25, 32, 35}, CAPITALS)
    pretrain(config, Watcher())
    run = Run(config)
    texts = run.streams("train")
    lines = logged_lines(config.run, "skipped")
    assert [(line["step"], line["groups"]) for line in lines] == [(7, [1]), (9, [0, 3])]
    for line in lines:
        data, before = replay(run, line), seen[line["step"] - 1]
        assert (data.step, data.shares, data.ledger) == (before.step, before.shares, before.ledger)
        for group, other in zip(data.groups, before.groups, strict=True):
            assert all(map(np.array_equal, astuple(group)[:6], astuple(other)[:6]))
            for name, targets in group.targets.items():
                assert all(map(np.array_equal, astuple(targets), astuple(other.targets[name])))
        named = sum(len(samples["numbers"]) for samples in line["samples"].values())
        assert named == sum(len(data.groups[group].sequence_lengths) for group in line["groups"])
        for stream in texts:
            samples = line["samples"].get(stream.instance.name, {"numbers": [], "documents": []})
            bounds = stream.corpus.document_tokens
            for number, document in zip(samples["numbers"], samples["documents"], strict=True):
                start, stop = stream.place(number)
                assert bounds[document] <= start < stop <= bounds[document + 1]


@pytest.mark.parametrize("log_every", [1, 4])
def test_skipped_steps_are_named_counted_and_left_out_of_the_means(
    tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch, log_every: int
) -> None:
    # Group 1 of step 7, and groups 0 and 3 of step 9; both in the second stage.
    poison(monkeypatch, {25, 32, 35}, CAPITALS)
    watcher = Steps()
    config = with_training(tiny_config, log_every=log_every)
    result = pretrain(config, watcher)
    assert result["finished"]
    assert result["skipped"] == {"capitalization": 2}
    expected = [
        {"step": 7, "tasks": ["capitalization"], "groups": [1]},
        {"step": 9, "tasks": ["capitalization"], "groups": [0, 3]},
    ]
    assert [{key: line[key] for key in expected[0]} for line in watcher.told] == expected
    lines = logged_lines(config.run, "skipped")
    assert [{key: line[key] for key in expected[0]} for line in lines] == expected
    assert all(line["stage"] == "second" for line in lines)
    rows = logged_lines(config.run)
    steps = [
        step for step in range(log_every, 13, log_every) if log_every > 1 or step not in (7, 9)
    ]
    assert [row["step"] for row in rows] == steps
    assert all(math.isfinite(row["loss"]) for row in rows)
    assert all(math.isfinite(score["loss"]) for row in rows for score in row["tasks"].values())


def test_a_run_with_skipped_steps_goes_on_bit_equal(
    tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    whole = tiny_config.model_copy(update={"run": tmp_path / "whole"})
    with monkeypatch.context() as patch:
        poison(patch, {25}, CAPITALS)
        pretrain(whole, Watcher())
    with monkeypatch.context() as patch:
        poison(patch, {25}, CAPITALS)
        with pytest.raises(KeyboardInterrupt):
            pretrain(tiny_config, Watcher(crash_at=10))
    result = pretrain(tiny_config, Watcher())
    assert result["skipped"] == {"capitalization": 1}
    assert trace(tiny_config.run) == trace(whole.run)
    assert same_tensors(final_tensors(tiny_config.run), final_tensors(whole.run))


@pytest.mark.parametrize(("log_every", "seen_at"), [(1, 8), (5, 10)])
def test_too_many_skipped_steps_in_a_row_end_a_run(
    tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch, log_every: int, seen_at: int
) -> None:
    # Step 2 alone, then every step from 6 on.
    poison(monkeypatch, {4, *range(20, 48)}, MASKING)
    config = with_training(tiny_config, skipping={"limit": 3}, log_every=log_every)
    with pytest.raises(
        UserError, match="of 3 steps in a row, up to step 8, was not finite or too large"
    ):
        pretrain(config, Watcher())
    assert [line["step"] for line in logged_lines(config.run, "skipped")] == [
        2,
        *range(6, seen_at + 1),
    ]
    # What it stands on was made before, or is as good.
    assert checkpoints(config.run / "checkpoints")[0].name == "step-4"


def saved(config: RunConfig) -> list[str]:
    return [path.name for path in checkpoints(config.run / "checkpoints")]


def test_a_checkpoint_that_is_due_waits_for_the_next_step_that_is_taken(
    tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Steps 8 and 9, of which the first is to be saved.
    poison(monkeypatch, {28, 32}, MASKING)
    config = with_training(tiny_config, checkpoints={"keep": 5})
    pretrain(config, Watcher())
    assert saved(config) == ["step-4", "step-10", "step-12"]


class StopsWhenSkipped(Watcher):
    """Asks the run to stop at its first skipped step."""

    def skipped(self, line: dict[str, Any]) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_stop_while_steps_are_skipped_is_saved_and_removes_nothing(
    tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, range(16, 48), MASKING)
    config = with_training(tiny_config, checkpoints={"keep": 1})
    result = pretrain(config, StopsWhenSkipped())
    assert result["interrupted"]
    assert saved(config) == ["step-4", "step-6"]


def test_weights_that_are_not_finite_are_not_saved(tiny_config: RunConfig) -> None:
    # The step before the first checkpoint is the first one to move weights at this rate.
    optimizer = tiny_config.optimizer.model_copy(update={"learning_rate": 1e300})
    config = tiny_config.model_copy(update={"optimizer": optimizer})
    with pytest.raises(
        UserError,
        match=r"are not finite after step 1 \(the first is weight .*\), so they were not "
        r"saved. Lower optimizer.learning_rate \(1e\+300\): no checkpoint was saved",
    ):
        pretrain(with_training(config, checkpoints={"every": 1}), Watcher())
    assert not saved(config)


@pytest.mark.parametrize("rate", [1e5, 1e30])
def test_a_run_that_diverged_goes_back_as_its_message_says(
    tiny_config: RunConfig, rate: float
) -> None:
    config = with_training(tiny_config, checkpoints={"every": 1, "keep": 3}, skipping={"limit": 3})
    pretrain(config, Watcher(interrupt_at=4))
    too_high = config.optimizer.model_copy(update={"learning_rate": rate})
    with pytest.raises(UserError) as error:
        pretrain(config.model_copy(update={"optimizer": too_high}), Watcher())
    message = str(error.value)
    assert "had diverged before step-6 was saved. To go back to step 5 (loss 3.19)" in message
    subprocess.run(message.partition("type: ")[2], shell=True, check=True)
    assert pretrain(config, Watcher())["finished"]
    assert all(row["loss"] < 10 for row in logged_lines(config.run))
