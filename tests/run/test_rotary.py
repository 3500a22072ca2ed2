"""Runs with rotary positions, of each family: stopped, shared, sharded and extended, they are the
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
from ernie_cmtl.run.run import Run
from ernie_cmtl.verbs.evaluate import Measures, evaluate
from ernie_cmtl.verbs.extend import Extension, extended_config
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.encoders import ENCODERS
from tests.support.runs import (
    Watcher,
    final_tensors,
    logged_lines,
    same_tensors,
    tiny_settings,
    trace,
)
from tests.support.workers import together


def rotary(corpus: Corpus, run: Path, encoder: str = "rotary", **training: Any) -> RunConfig:
    settings = tiny_settings(corpus, run)
    settings["encoder"] |= ENCODERS[encoder]
    settings["training"] |= training
    return RunConfig.model_validate(settings)


@pytest.fixture(
    scope="module", params=["rotary", pytest.param("modernbert_windows", marks=pytest.mark.slow)]
)
def encoder(request: pytest.FixtureRequest) -> str:
    """The name of an encoder."""
    return str(request.param)


@pytest.fixture(scope="module")
def unbroken(encoder: str, english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rotary") / "run"
    pretrain(rotary(english, folder, encoder), Watcher())
    return folder


def test_no_weight_belongs_to_a_position(unbroken: Path) -> None:
    assert not [name for name in final_tensors(unbroken) if "position" in name]


def test_all_other_weights_begin_as_with_learned_positions(english: Corpus, tmp_path: Path) -> None:
    learned = Run(RunConfig.model_validate(tiny_settings(english, tmp_path))).new_model()
    expected, found = learned.state_dict(), Run(rotary(english, tmp_path)).new_model().state_dict()
    assert expected.keys() - found.keys() == {"encoder.embeddings.position_embeddings.weight"}
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_run_that_ends_early_resumes_bit_for_bit(
    unbroken: Path, encoder: str, english: Corpus, tmp_path: Path, how: str
) -> None:
    config = rotary(english, tmp_path / "run", encoder)
    if how == "killed":
        with pytest.raises(KeyboardInterrupt):
            pretrain(config, Watcher(crash_at=7))
    else:
        assert pretrain(config, Watcher(interrupt_at=6))["interrupted"]
    pretrain(config, Watcher())
    assert trace(tmp_path / "run") == trace(unbroken)
    assert same_tensors(final_tensors(tmp_path / "run"), final_tensors(unbroken))


def part(config: RunConfig) -> float:
    """Be one worker."""
    return float(pretrain(config, Watcher())["losses"]["knowledge_masking/masked_token"])


@pytest.mark.parametrize(("workers", "sharding"), [(2, "none"), (4, "none"), (2, "full")])
def test_workers_share_it_alike(
    unbroken: Path, encoder: str, english: Corpus, tmp_path: Path, workers: int, sharding: str
) -> None:
    config = rotary(english, tmp_path / "run", encoder, sharding=sharding)
    found = together(part, config, folder=tmp_path, count=workers)
    assert len(set(found)) == 1
    for (step, loss, norm), (other, other_loss, other_norm) in zip(
        trace(unbroken), trace(tmp_path / "run"), strict=True
    ):
        assert step == other
        assert other_loss == pytest.approx(loss, rel=1e-5)
        assert other_norm == pytest.approx(norm, rel=1e-4)


def test_it_is_extended_and_its_retention_goes_on(unbroken: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(unbroken, tmp_path / "run"))
    report = pretrain(extended_config(run, Extension("sentence_order", budget=3)), Watcher())
    assert "sentence_order/order" in report["losses"]
    stages = [row["stage"] for row in report["retention"]["matrix"]]
    assert stages == ["start", "first", "second", "sentence_order"]


def test_it_is_judged_as_it_was_logged(unbroken: Path) -> None:
    found = evaluate(str(unbroken), None, None, [], Measures())["heldout"]
    logged = logged_lines(unbroken, "heldout")[-1]["tasks"]
    for name, score in found.items():
        assert score["loss"] == pytest.approx(logged[name]["loss"], rel=1e-5)


def test_a_run_cannot_change_its_positions(unbroken: Path, english: Corpus) -> None:
    settings = tiny_settings(english, unbroken)
    with pytest.raises(UserError, match=r"encoder.positions \(rotary, now learned\)"):
        pretrain(RunConfig.model_validate(settings), Watcher())


def test_a_run_cannot_change_its_windows(unbroken: Path, encoder: str, english: Corpus) -> None:
    config = rotary(english, unbroken, encoder)
    changed = {"architecture": "modernbert", "local_attention": 6, "layers": 3}
    other = config.encoder.model_copy(update=changed)
    with pytest.raises(UserError, match=r"encoder.local_attention \(.*, now 6\)"):
        pretrain(config.model_copy(update={"encoder": other}), Watcher())
