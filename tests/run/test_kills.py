"""Kills without notice at random moments: the run goes on by the same command and ends as if nothing had been."""

import random
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.training.checkpoint import checkpoints, load_state
from ernie_cmtl.verbs.pretrain import pretrain
from tests.conftest import tiny_settings
from tests.run.forked import Worker, started
from tests.run.test_pretrain import Watcher, _final, _same, _trace
from tests.run.test_stopping import last_step, wait_until

SECONDS_TO_END = 60
"""For what a killed process leaves behind: its loader processes and the other workers."""


def config_of(corpus: Corpus, run: Path, steps: int, loader_workers: int) -> RunConfig:
    """A run of two stages that saves every third step."""
    settings = tiny_settings(corpus, run)
    tasks = {"knowledge_masking": steps // 4, "capitalization": steps // 4}
    settings["stages"] = [{"name": "first", "budgets": {"knowledge_masking": steps // 2}}, {"name": "second", "budgets": tasks}]
    settings["data"] |= {"rows_per_group": 4, "loader_workers": loader_workers}
    settings["training"]["checkpoint_every"] = 3
    return RunConfig.model_validate(settings)


def saving(run: Path) -> bool:
    return any((run / "checkpoints").glob(".*-step-*"))


def held_in_save(process: Worker, run: Path) -> bool:
    """Stop a process that is inside a save; one that has left it meanwhile goes on."""
    if not saving(run):
        return False
    writer = psutil.Process(process.pid)
    writer.suspend()
    wait_until(lambda: writer.status() == psutil.STATUS_STOPPED, [process])
    if not saving(run):
        writer.resume()
    return saving(run)


def kill(config: RunConfig, folder: Path, workers: int, kind: str, chance: random.Random) -> bool:
    """Go on with a run for a few steps, kill one of its processes, wait for the others; tell whether it was inside a save."""
    run = config.run
    # The log still has what came after the newest checkpoint.
    target = last_step(run) + chance.randint(1, 3)
    processes = started(config, folder, workers)
    wait_until(lambda: last_step(run) >= target, processes)
    family = [child for process in processes for child in psutil.Process(process.pid).children(recursive=True)]
    if kind == "save":
        wait_until(lambda: held_in_save(processes[0], run), processes)
    else:
        time.sleep(chance.random() / 10)
    victim = {"main": processes[0].pid, "save": processes[0].pid, "other": processes[-1].pid}.get(kind) or family[0].pid
    psutil.Process(victim).kill()
    inside = saving(run)
    assert all(process.wait(SECONDS_TO_END) != 0 for process in processes)
    assert not psutil.wait_procs(family, timeout=SECONDS_TO_END)[1]
    return inside


def finish(config: RunConfig, folder: Path, workers: int) -> None:
    """Train to the end."""
    if workers == 1:
        assert pretrain(config, Watcher())["finished"]
    else:
        assert [process.wait(250) for process in started(config, folder, workers)] == [0] * workers


def check_kills(corpus: Corpus, folder: Path, workers: int, loader_workers: int, kinds: list[str], seed: int) -> None:
    """Kill a run once for each kind, and compare its end with that of one that nothing happened to."""
    steps = 4 * (3 * len(kinds) + 3)
    config, whole = (config_of(corpus, folder / name, steps, loader_workers) for name in ("run", "whole"))
    chance = random.Random(seed)
    inside = [kill(config, folder, workers, kind, chance) for kind in kinds]
    assert sum(inside) * 3 >= len(kinds)
    for each in (config, whole):
        finish(each, folder, workers)
    assert [row[0] for row in _trace(config.run)] == list(range(1, steps + 1))
    assert _trace(config.run) == _trace(whole.run)
    assert _same(_final(config.run), _final(whole.run))
    ledgers: list[Any] = [load_state(checkpoints(each.run / "checkpoints")[-1])[0] for each in (config, whole)]
    assert ledgers[0] == ledgers[1]
    assert not saving(config.run)


def test_five_kills_of_trainer_and_loader_change_nothing(english: Corpus, tmp_path: Path) -> None:
    check_kills(english, tmp_path, 1, 2, ["save", "main", "loader", "save", "main"], seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(10))
def test_a_hundred_kills_change_nothing(english: Corpus, tmp_path: Path, part: int) -> None:
    """Ten times ten, each half inside saves, over all pairs of workers and loader processes."""
    workers, loader_workers = [(1, 2), (2, 0), (2, 2), (1, 0)][part % 4]
    others = ["main", *(["other"] if workers > 1 else []), *(["loader"] if loader_workers else [])]
    kinds = [kind for number in range(5) for kind in ("save", others[(part + number) % len(others)])]
    check_kills(english, tmp_path, workers, loader_workers, kinds, seed=2 + part)
