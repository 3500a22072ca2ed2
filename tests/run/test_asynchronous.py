"""Checkpoints that are written while the training goes on: the same files, one at a time, and no
failure is lost.
"""

import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.run import checkpoints as saving
from ernie_cmtl.training.checkpoint import Snapshot, checkpoints
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.kills import kill
from tests.support.runs import (
    Watcher,
    config_of,
    final_tensors,
    logged_lines,
    same_tensors,
    trace,
    with_training,
)
from tests.support.workers import started

Save = Callable[..., Path]


class Reporter(Watcher):
    """Sets an event at a step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step, self.reached = step, threading.Event()

    def logged(self, stage: str, line: dict[str, Any]) -> None:
        if line["step"] == self.step:
            self.reached.set()


def patched(monkeypatch: pytest.MonkeyPatch, change: Callable[[int], None]) -> list[int]:
    """Do something at the beginning of each save, given its step; returns the steps whose save has
    ended.
    """
    real: Save = saving.save_checkpoint
    ended: list[int] = []
    busy = threading.Lock()

    def save(folder: Path, state: Snapshot, *arguments: Any) -> Path:
        assert busy.acquire(blocking=False), "two saves at once"
        try:
            change(state.ledger.step)
            target = real(folder, state, *arguments)
            ended.append(state.ledger.step)
            return target
        finally:
            busy.release()

    monkeypatch.setattr(saving, "save_checkpoint", save)
    return ended


def test_the_files_are_those_of_a_synchronous_save_though_the_training_goes_on(
    tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = with_training(tiny_config, checkpoints={"every": 2, "keep": 9})
    whole = config.model_copy(update={"run": tmp_path / "whole"})
    pretrain(whole, Watcher())
    watcher = Reporter(step=4)

    def slow(step: int) -> None:
        # The step after the next is logged before the first save begins to write; the second one
        # waits for it.
        assert step > 2 or watcher.reached.wait(60)

    ended = patched(monkeypatch, slow)
    assert pretrain(with_training(config, checkpoints={"asynchronous": True}), watcher)["finished"]
    assert ended == [2, 4, 6, 8, 10, 12]
    pairs = zip(
        checkpoints(whole.run / "checkpoints"), checkpoints(config.run / "checkpoints"), strict=True
    )
    for one, other in pairs:
        for name in ("model.safetensors", "optimizer.safetensors"):
            assert (one / name).read_bytes() == (other / name).read_bytes()
        first, second = (json.loads((path / "state.json").read_text()) for path in (one, other))
        assert first["ledger"] == second["ledger"]
        assert first["run"].keys() == second["run"].keys()
    assert trace(config.run) == trace(whole.run)


def test_a_save_that_fails_ends_the_run_within_two_steps_with_its_message(
    tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(step: int) -> None:
        if step == 4:
            raise UserError("the disk is full")

    patched(monkeypatch, broken)
    with pytest.raises(UserError, match="the disk is full"):
        pretrain(
            with_training(tiny_config, checkpoints={"every": 2, "asynchronous": True}), Watcher()
        )
    assert [path.name for path in checkpoints(tiny_config.run / "checkpoints")] == ["step-2"]
    assert logged_lines(tiny_config.run)[-1]["step"] <= 6


def test_a_signal_waits_for_its_checkpoint(tiny_config: RunConfig) -> None:
    config = with_training(tiny_config, checkpoints={"asynchronous": True})
    assert pretrain(config, Watcher(interrupt_at=5))["interrupted"]
    assert checkpoints(config.run / "checkpoints")[-1].name == "step-6"


def test_an_error_lets_the_save_under_way_end(
    tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = patched(monkeypatch, lambda step: time.sleep(0.3))
    with pytest.raises(KeyboardInterrupt):
        pretrain(
            with_training(tiny_config, checkpoints={"asynchronous": True}), Watcher(crash_at=5)
        )
    assert ended == [4]


@pytest.mark.slow
def test_a_kill_inside_a_save_changes_nothing(english: Corpus, tmp_path: Path) -> None:
    config, whole = (
        with_training(
            config_of(english, tmp_path / name, 16, 0), checkpoints={"asynchronous": True}
        )
        for name in "ab"
    )
    kill(config, tmp_path, 1, "save", random.Random(1))
    for each in (config, whole):
        assert pretrain(each, Watcher())["finished"]
    assert trace(config.run) == trace(whole.run)
    assert same_tensors(final_tensors(config.run), final_tensors(whole.run))


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_workers_skip_the_same_steps_as_one_and_save_beside_their_training(
    tiny_config: RunConfig, tmp_path: Path, sharding: str
) -> None:
    # So narrow that steps of an ordinary run are skipped.
    config = with_training(
        tiny_config,
        checkpoints={"asynchronous": True},
        skipping={"spike_window": 2, "spike_sigma": 0.5},
    )
    alone = config.model_copy(update={"run": tmp_path / "alone"})
    skipped = pretrain(alone, Watcher())["skipped"]
    assert 1 <= skipped["spike"] <= 6
    # They compare their weights at the end.
    sharded = with_training(config, sharding=sharding)
    assert [process.wait(120) for process in started(sharded, tmp_path, 2)] == [0, 0]
    lines, expected = (logged_lines(run, "skipped") for run in (config.run, alone.run))
    assert [line["step"] for line in lines] == [line["step"] for line in expected]
    assert [line["samples"] for line in lines] == [line["samples"] for line in expected]
    assert checkpoints(config.run / "checkpoints")[-1].name == "step-12"
