"""Runs whose tasks have layers of their own: stopped, shared, sharded and extended, they are the
unbroken run.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.verbs.extend import Extension, extended_config
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.runs import (
    Watcher,
    final_tensors,
    logged_lines,
    same_tensors,
    tiny_settings,
    trace,
)
from tests.support.workers import together

PARTS = 7
"""Steps before the decision of `related` that splits the trunk."""
MODES: dict[str, dict[str, Any]] = {
    "partial": {"mode": "partial", "layers": 1, "groups": "family"},
    "soft": {"mode": "soft", "strength": 0.05},
    "rank": {"mode": "partial", "groups": "task", "rank": 4},
    # Whatever is known of two tasks, they part.
    "related": {"mode": "related", "every": PARTS, "threshold": 1.0, "samples": 64},
    "fed": {"mode": "hierarchical", "levels": {"capitalization": 1}, "feed": True},
}
OTHERS = [mode for mode in MODES if mode != "partial"]
"""Modes that the quick tests run once."""
BEGINS = 5
"""Steps before the second stage, whose tasks have branches."""


def config_of(corpus: Corpus, run: Path, mode: str, **training: Any) -> RunConfig:
    settings = tiny_settings(corpus, run) | {"sharing": MODES[mode]}
    settings["training"] |= training
    return RunConfig.model_validate(settings)


@pytest.fixture(
    scope="module",
    params=["partial", *(pytest.param(mode, marks=pytest.mark.slow) for mode in OTHERS)],
)
def unbroken(
    request: pytest.FixtureRequest, english: Corpus, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("shared") / "run"
    pretrain(config_of(english, folder, request.param), Watcher())
    return request.param, folder


def check_own_weights(
    mode: str, tensors: dict[str, torch.Tensor], lines: list[dict[str, Any]]
) -> None:
    """What tasks have for themselves was trained, from their stage on."""
    if mode == "fed":
        assert float(tensors["label_embeddings.capitalization/capital"].abs().max()) > 1e-4
        return
    if mode == "rank":
        ups = {name: value for name, value in tensors.items() if name.startswith("low_rank.up.")}
        assert len({name.split(".")[2] for name in ups}) == 12
        assert all(value.any() for name, value in ups.items() if "|" not in name)
        return
    branches = {name.split(".")[1] for name in tensors if name.startswith("branches.")}
    each = ["capitalization", "sentence_reordering"]
    expected = ["syntactic"] if mode == "partial" else each
    assert branches == {*expected}
    for name in branches:
        own = "attention.self.query.weight"
        found = tensors[f"branches.{name}.0.{own}"]
        trunk = tensors[f"encoder.encoder.layer.{0 if mode == 'soft' else 1}.{own}"]
        assert not torch.equal(found, trunk)
        # They began as copies of it, a few steps ago.
        assert float((found - trunk).abs().max()) < 0.03
    distances = [line.get("distance") for line in lines]
    if mode == "soft":
        assert distances[: BEGINS + 1] == pytest.approx([0.0] * (BEGINS + 1), abs=1e-9)
        assert all(distance > 1e-6 for distance in distances[BEGINS + 1 :])
    else:
        assert distances == [None] * 12


def test_branches_are_trained_from_their_stage_on(unbroken: tuple[str, Path]) -> None:
    mode, folder = unbroken
    check_own_weights(mode, final_tensors(folder), logged_lines(folder))


@pytest.mark.parametrize("after", [-1, 0, 1])
def test_a_run_that_ends_around_the_beginning_of_a_branch_resumes_bit_for_bit(
    unbroken: tuple[str, Path], english: Corpus, tmp_path: Path, after: int
) -> None:
    mode, folder = unbroken
    at = (PARTS if mode == "related" else BEGINS) + after
    config = config_of(english, tmp_path / "run", mode)
    assert pretrain(config, Watcher(interrupt_at=at - 1))["steps"] == at
    pretrain(config, Watcher())
    assert trace(tmp_path / "run") == trace(folder)
    assert same_tensors(final_tensors(tmp_path / "run"), final_tensors(folder))
    ends, expected = (logged_lines(run, "heldout") for run in (tmp_path / "run", folder))
    assert [line["tasks"] for line in ends] == [line["tasks"] for line in expected]


@pytest.mark.parametrize("mode", OTHERS)
def test_every_mode_resumes_bit_for_bit(english: Corpus, tmp_path: Path, mode: str) -> None:
    whole, broken = (config_of(english, tmp_path / name, mode) for name in ("whole", "broken"))
    pretrain(whole, Watcher())
    assert pretrain(broken, Watcher(interrupt_at=BEGINS - 1))["steps"] == BEGINS
    pretrain(broken, Watcher())
    assert trace(broken.run) == trace(whole.run)
    assert same_tensors(final_tensors(broken.run), final_tensors(whole.run))
    check_own_weights(mode, final_tensors(whole.run), logged_lines(whole.run))


def part(config: RunConfig) -> float:
    """Be one worker."""
    return float(pretrain(config, Watcher())["losses"]["knowledge_masking/masked_token"])


@pytest.mark.parametrize(
    ("workers", "sharding"),
    [(2, "none"), (2, "full"), pytest.param(4, "none", marks=pytest.mark.slow)],
)
def test_workers_share_it_alike(
    unbroken: tuple[str, Path], english: Corpus, tmp_path: Path, workers: int, sharding: str
) -> None:
    mode, folder = unbroken
    config = config_of(english, tmp_path / "run", mode, sharding=sharding)
    if (mode, sharding) == ("related", "full"):
        with pytest.raises(UserError, match=r"compares whole gradients.*sharding=none"):
            pretrain(config, Watcher())
        return
    assert len(set(together(part, config, folder=tmp_path, count=workers))) == 1
    for (step, loss, norm), (other, other_loss, other_norm) in zip(
        trace(folder), trace(tmp_path / "run"), strict=True
    ):
        assert step == other
        assert other_loss == pytest.approx(loss, rel=1e-5)
        assert other_norm == pytest.approx(norm, rel=1e-4)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_computing_activations_again_changes_nothing(
    english: Corpus, tmp_path: Path, optimizer: str
) -> None:
    runs = []
    for again in (False, True):
        config = config_of(english, tmp_path / str(again), "partial", gradient_checkpointing=again)
        changed = config.optimizer.model_copy(update={"kind": optimizer})
        pretrain(config.model_copy(update={"optimizer": changed}), Watcher())
        runs.append(config.run)
    assert trace(runs[0]) == trace(runs[1])
    assert same_tensors(*map(final_tensors, runs))


def test_a_new_task_gets_a_branch_that_begins_as_the_trunk(
    unbroken: tuple[str, Path], tmp_path: Path
) -> None:
    mode, folder = unbroken
    run = Path(shutil.copytree(folder, tmp_path / "run"))
    config = extended_config(run, Extension("ir_relevance", budget=3))
    report = pretrain(config, Watcher())
    assert "ir_relevance/relevance" in report["losses"]
    before, after = final_tensors(folder), final_tensors(run)
    if mode == "fed":
        new = {key for key in after.keys() - before.keys() if "rows." not in key}
        assert all(key.startswith("heads.ir_relevance/relevance.dense.") for key in new)
        return
    if mode == "rank":
        new = {key for key in after.keys() - before.keys() if key.startswith("low_rank.")}
        assert new
        assert {key.split(".")[3].partition("|")[0] for key in new} == {"ir_relevance"}
        return
    name = "semantic" if mode == "partial" else "ir_relevance"
    new = {key for key in after.keys() - before.keys() if key.startswith("branches.")}
    assert new
    assert all(key.startswith(f"branches.{name}.") for key in new)


def test_another_mode_in_the_same_folder_is_refused(
    unbroken: tuple[str, Path], english: Corpus, tmp_path: Path
) -> None:
    mode, folder = unbroken
    run = Path(shutil.copytree(folder, tmp_path / "run"))
    settings = config_of(english, run, mode).model_dump(mode="json") | {"sharing": {"mode": "hard"}}
    with pytest.raises(UserError, match=r"other settings of sharing"):
        pretrain(RunConfig.model_validate(settings), Watcher())
