"""A run folder opens and goes on by itself."""

import shutil
from pathlib import Path

import pytest
import torch

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.run.open import open_run, read_config
from ernie_cmtl.verbs.evaluate import evaluate_run
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.models import save_bert
from tests.support.runs import Watcher, tiny_settings


def test_a_run_opens_after_the_checkpoint_it_started_from_is_gone(
    english: Corpus, tmp_path: Path
) -> None:
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


@pytest.mark.parametrize("from_checkpoint", [False, True])
def test_a_run_goes_on_with_the_configuration_of_its_folder(
    english: Corpus, tmp_path: Path, from_checkpoint: bool
) -> None:
    settings = tiny_settings(english, tmp_path / "run")
    settings["stages"] = [{"name": "all", "budgets": {"knowledge_masking": 4}}]
    if from_checkpoint:
        save_bert(english, tmp_path / "bert", num_hidden_layers=3)
        settings["encoder"] = {"init_from": str(tmp_path / "bert")}
    pretrain(RunConfig.model_validate(settings), Watcher(interrupt_at=1))
    watcher = Watcher()
    # The folder's configuration says every size of the encoder, whatever was left out before.
    config = read_config(tmp_path / "run" / "config.yaml")
    assert config.encoder.intermediate_size
    assert pretrain(config, watcher)["finished"]
    assert watcher.began_at == 2
    other = read_config(tmp_path / "run" / "config.yaml", ["encoder.dropout=0.3"])
    with pytest.raises(UserError, match="other settings of encoder"):
        pretrain(other, Watcher())


def test_a_run_opens_without_reading_its_text(
    tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain(tiny_config, Watcher(interrupt_at=1))
    opened: list[str] = []
    monkeypatch.setattr(Corpus, "split", lambda corpus, name: opened.append(name))
    assert open_run(tiny_config.run)[2].step == 2
    assert opened == []
