"""Kills without notice at random moments: the run goes on by the same command and ends as if
nothing had been.
"""

import random
from pathlib import Path
from typing import Any

import pytest

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.training.checkpoint import checkpoints, load_state
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.kills import kill, saving
from tests.support.runs import Watcher, config_of, final_tensors, same_tensors, trace
from tests.support.workers import started

"""For what a killed process leaves behind: its loader processes and the other workers."""


def finish(config: RunConfig, folder: Path, workers: int) -> None:
    """Train to the end."""
    if workers == 1:
        assert pretrain(config, Watcher())["finished"]
    else:
        assert [process.wait(250) for process in started(config, folder, workers)] == [0] * workers


def check_kills(
    corpus: Corpus,
    folder: Path,
    workers: int,
    loader_workers: int,
    kinds: list[str],
    seed: int,
    **changes: Any,
) -> None:
    """Kill a run once for each kind, and compare its end with that of one that nothing happened
    to.
    """
    steps = 4 * (3 * len(kinds) + 3)
    config, whole = (
        RunConfig.model_validate(
            config_of(corpus, folder / name, steps, loader_workers).model_dump() | changes
        )
        for name in ("run", "whole")
    )
    chance = random.Random(seed)
    inside = [kill(config, folder, workers, kind, chance) for kind in kinds]
    assert sum(inside) * 3 >= len(kinds)
    for each in (config, whole):
        finish(each, folder, workers)
    assert [row[0] for row in trace(config.run)] == list(range(1, steps + 1))
    assert trace(config.run) == trace(whole.run)
    assert same_tensors(final_tensors(config.run), final_tensors(whole.run))
    ledgers: list[Any] = [
        load_state(checkpoints(each.run / "checkpoints")[-1])[0] for each in (config, whole)
    ]
    assert ledgers[0] == ledgers[1]
    assert not saving(config.run)


def test_kills_of_trainer_and_loader_change_nothing(english: Corpus, tmp_path: Path) -> None:
    check_kills(english, tmp_path, 1, 2, ["save", "main", "loader"], seed=1)


def test_kills_of_a_run_whose_tasks_have_own_layers_change_nothing(
    english: Corpus, tmp_path: Path
) -> None:
    sharing = {"mode": "partial", "groups": "task"}
    check_kills(english, tmp_path, 1, 0, ["save", "main", "save"], seed=12, sharing=sharing)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(10))
def test_a_hundred_kills_change_nothing(english: Corpus, tmp_path: Path, part: int) -> None:
    """Ten times ten, each half inside saves, over all pairs of workers and loader processes."""
    workers, loader_workers = [(1, 2), (2, 0), (2, 2), (1, 0)][part % 4]
    others = ["main", *(["other"] if workers > 1 else []), *(["loader"] if loader_workers else [])]
    kinds = [
        kind for number in range(5) for kind in ("save", others[(part + number) % len(others)])
    ]
    check_kills(english, tmp_path, workers, loader_workers, kinds, seed=2 + part)
