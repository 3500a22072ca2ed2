"""A run folder opens by itself: what it once started from need not be there any more."""

import shutil
from pathlib import Path

import torch

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store import Corpus
from ernie_cmtl.run.pretrain import pretrain
from ernie_cmtl.run.saved import evaluate_run, open_run
from tests.conftest import tiny_settings
from tests.run.test_assemble import save_bert
from tests.run.test_pretrain import Watcher


def test_a_run_opens_after_the_checkpoint_it_started_from_is_gone(english: Corpus, tmp_path: Path) -> None:
    source = tmp_path / "bert"
    save_bert(english, source, num_hidden_layers=3)
    settings = tiny_settings(english, tmp_path / "run")
    settings["encoder"] = {"init_from": str(source)}
    settings["stages"] = [{"name": "all", "budgets": {"knowledge_masking": 2}}]
    trained = pretrain(RunConfig.model_validate(settings), Watcher())
    shutil.rmtree(source)
    _, model, ledger = open_run(tmp_path / "run")
    assert ledger.step == 2
    assert len(model.encoder.encoder.layer) == 3
    assert evaluate_run(tmp_path / "run", None)["heldout"] == trained["heldout"]
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
