"""A loss or gradient that is not finite: the step changes nothing, is named and counted, and too many in a row end the run."""

import math
from collections.abc import Collection
from typing import Any

import pytest
import torch
from torch import Tensor

from ernie_cmtl.config import RunConfig
from ernie_cmtl.errors import UserError
from ernie_cmtl.model.multitask import MultiTaskModel, TensorBatch
from ernie_cmtl.run.assemble import Run
from ernie_cmtl.run.pretrain import pretrain
from ernie_cmtl.training.checkpoint import checkpoints
from ernie_cmtl.training.trainer import StepResult, Trainer
from ernie_cmtl.training.workers import Workers
from tests.run.test_pretrain import Watcher, _final, _lines, _same, _trace, with_training

MASKING, CAPITALS = 0, 1
"""Rows of the tasks of the tiny run."""


class Steps(Watcher):
    """Remembers the skipped steps that it is told of."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[dict[str, Any]] = []

    def skipped(self, line: dict[str, Any]) -> None:
        self.told.append(line)


def poison(monkeypatch: pytest.MonkeyPatch, groups: Collection[int], task: int, value: float = math.nan) -> None:
    """Spoil the loss of a task in the groups of those numbers, counted over all steps; a step of the tiny run has four."""
    real = MultiTaskModel.forward
    calls = iter(range(10**6))

    def forward(self: MultiTaskModel, batch: TensorBatch, coefficients: Tensor) -> tuple[Tensor, Tensor]:
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
    return Trainer(run.new_model(), run.instances, run.config.optimizer, Workers("fp32"), run.table, run.config.seed)


def take(trainer: Trainer, config: RunConfig, steps: int) -> list[StepResult]:
    run = Run(config)
    return list(trainer.run(run.source(run.first_ledger(), steps, 0, 1)))


def state(trainer: Trainer) -> list[Tensor]:
    moments = [value for parameter in trainer.model.parameters() for value in trainer.optimizer.state[parameter].values()]
    return [value.clone() for value in (*trainer.model.parameters(), *moments)]


def unchanged(before: list[Tensor], after: list[Tensor]) -> bool:
    return len(before) == len(after) and all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


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


def test_a_step_with_a_gradient_that_is_not_finite_changes_no_bit(trainer: Trainer, tiny_config: RunConfig) -> None:
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
    monkeypatch.setattr(trainer.workers, "sum", lambda values: values + math.inf if values.ndim == 0 else values)
    (result,) = take(trainer, tiny_config, 1)
    assert result.skipped
    assert math.isfinite(result.loss)
    assert unchanged(before, state(trainer))


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
    assert watcher.told == expected
    lines = _lines(config.run, "skipped")
    assert [{key: line[key] for key in expected[0]} for line in lines] == expected
    assert all(line["stage"] == "second" for line in lines)
    rows = _lines(config.run)
    steps = [step for step in range(log_every, 13, log_every) if log_every > 1 or step not in (7, 9)]
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
    assert _trace(tiny_config.run) == _trace(whole.run)
    assert _same(_final(tiny_config.run), _final(whole.run))


@pytest.mark.parametrize(("log_every", "seen_at"), [(1, 8), (5, 10)])
def test_too_many_skipped_steps_in_a_row_end_a_run(
    tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch, log_every: int, seen_at: int
) -> None:
    # Step 2 alone, then every step from 6 on.
    poison(monkeypatch, {4, *range(20, 48)}, MASKING)
    config = with_training(tiny_config, skipped_steps_limit=3, log_every=log_every)
    with pytest.raises(UserError, match="of 3 steps in a row, up to step 8, was not finite"):
        pretrain(config, Watcher())
    assert [line["step"] for line in _lines(config.run, "skipped")] == [2, *range(6, seen_at + 1)]
    # What it stands on was made before, or is as good.
    assert checkpoints(config.run / "checkpoints")[0].name == "step-4"
