"""A run stands where a model of transformers is asked for."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.run.open import open_run
from ernie_cmtl.verbs.finetune import as_pretrained
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.runs import Watcher, tiny_settings


def test_a_run_is_a_folder_of_transformers_for_a_while(english: Corpus, tmp_path: Path) -> None:
    settings = tiny_settings(english, tmp_path / "run")
    settings["stages"] = [{"name": "all", "budgets": {"knowledge_masking": 2}}]
    pretrain(RunConfig.model_validate(settings), Watcher())
    with as_pretrained(str(tmp_path / "run")) as name:
        loaded = AutoModel.from_pretrained(name)
        assert len(AutoTokenizer.from_pretrained(name)) == english.vocabulary.size
    assert not Path(name).exists()
    _, model, _ = open_run(tmp_path / "run")
    words = "embeddings.word_embeddings.weight"
    assert torch.equal(loaded.state_dict()[words], model.encoder.state_dict()[words])
    with (
        pytest.raises(UserError, match="no checkpoint at step 9"),
        as_pretrained(str(tmp_path / "run"), 9),
    ):
        pass


def test_what_is_no_run_stays_as_it_is(tmp_path: Path) -> None:
    with as_pretrained(str(tmp_path)) as folder, as_pretrained("bert-base-uncased") as name:
        assert (folder, name) == (str(tmp_path), "bert-base-uncased")
