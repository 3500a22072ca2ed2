"""An encoder with learned positions leaves as BERT with the view of one task in its weights; other
encoders are refused.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForMaskedLM,
    BertModel,
    pipeline,
)

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.task_views import choose_task
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.model.task_embedding import fold_task_row
from ernie_cmtl.model.task_parameters import task_table
from ernie_cmtl.run.observer import Observer
from ernie_cmtl.verbs.export import export_run
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.models import largest_difference, sentences, vocabulary_scores
from tests.support.runs import TINY_TASKS, finished_run, tiny_settings
from tests.support.tuning import recipe

TASKS = TINY_TASKS


@pytest.fixture(scope="module")
def run_folder(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose learning rate is so high that every weight shows."""
    folder = tmp_path_factory.mktemp("learned") / "run"
    settings = tiny_settings(english, folder)
    settings["optimizer"] |= {"learning_rate": 0.02}
    pretrain(RunConfig.model_validate(settings), Observer())
    return folder


@pytest.mark.parametrize("row", range(len(TASKS)))
def test_each_view_computes_what_the_run_does_for_its_task(
    run_folder: Path, trained: MultiTaskModel, english: Corpus, tmp_path: Path, row: int
) -> None:
    report = export_run(run_folder, tmp_path / "model", None, "bert", task=TASKS[row])
    assert report["format"] == "bert"
    assert report["max_abs_logit_difference"] == 0
    assert report["max_abs_hidden_state_difference"] < 1e-5
    loaded, about = AutoModelForMaskedLM.from_pretrained(report["path"], output_loading_info=True)
    encoder, about_encoder = AutoModel.from_pretrained(report["path"], output_loading_info=True)
    assert (type(loaded), type(encoder)) == (BertForMaskedLM, BertModel)
    assert not about["missing_keys"]
    assert not about_encoder["missing_keys"]
    for segment in range(4):
        with torch.no_grad():
            found = [
                loaded(
                    torch.tensor([tokens]), token_type_ids=torch.full((1, len(tokens)), segment)
                ).logits[0]
                for tokens in sentences(english)
            ]
        expected = vocabulary_scores(trained, english, row, segment)
        assert largest_difference(found, expected) < 1e-4
        other = vocabulary_scores(trained, english, (row + 1) % 3, segment)
        assert largest_difference(found, other) > 1e-3
    written = json.loads((tmp_path / "model" / "pretraining.json").read_text(encoding="utf-8"))
    assert written["folded_row"] == row
    assert load_file(tmp_path / "model" / "task_embedding.safetensors")["rows"].equal(
        task_table(trained.family)
    )


def test_the_config_and_card_are_plain_berts(run_folder: Path, tmp_path: Path) -> None:
    export_run(run_folder, tmp_path / "model", None, "bert")
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert (config["model_type"], config["architectures"]) == ("bert", ["BertForMaskedLM"])
    assert not {"use_task_id", "task_type_vocab_size", "auto_map"} & config.keys()
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "view of one task, `knowledge_masking` (row 0)" in card
    assert "task_type_ids" not in card
    best = pipeline("fill-mask", model=str(tmp_path / "model"))("the [MASK] returns a list .")
    assert AutoTokenizer.from_pretrained(tmp_path / "model").is_fast
    assert len(best) == 5


def test_rotary_positions_are_refused_with_what_they_can_leave_as(
    english: Corpus, tmp_path: Path
) -> None:
    rotary = finished_run(english, tmp_path / "run", positions="rotary")
    with pytest.raises(
        UserError,
        match=r"no BERT class computes this encoder .*'rotary'.*JinaEmbeddingsV3ForMaskedLM: use "
        "--format hf, sentence-transformers or onnx",
    ):
        export_run(rotary, tmp_path / "model", None, "bert")
    assert not (tmp_path / "model").exists()


def test_a_run_without_task_embedding_leaves_as_bert(english: Corpus, tmp_path: Path) -> None:
    run = finished_run(english, tmp_path / "run", task_embedding="off")
    report = export_run(run, tmp_path / "model", None, "bert")
    assert report["max_abs_logit_difference"] == 0
    assert not (tmp_path / "model" / "task_embedding.safetensors").exists()


def test_a_row_is_folded_into_every_segment_of_any_class() -> None:
    state = {
        "ernie.embeddings.task_type_embeddings.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        "ernie.embeddings.token_type_embeddings.weight": torch.zeros(4, 2),
        "classifier.weight": torch.ones(2, 2),
    }
    folded = fold_task_row(state, 1)
    assert folded.keys() == {
        "ernie.embeddings.token_type_embeddings.weight",
        "classifier.weight",
    }
    assert folded["ernie.embeddings.token_type_embeddings.weight"].tolist() == [[3.0, 4.0]] * 4
    # What was given stays as it was.
    assert not state["ernie.embeddings.token_type_embeddings.weight"].any()
    assert fold_task_row(folded, 0) == folded


def test_a_fine_tuning_takes_another_row_from_the_rows_beside_the_model(
    run_folder: Path, tmp_path: Path
) -> None:
    for task in TASKS[:2]:
        export_run(run_folder, tmp_path / task, None, "bert", task=task)

    def types(task: str, rows: bool) -> torch.Tensor:
        made = AutoModelForSequenceClassification.from_pretrained(tmp_path / task)
        if rows:
            assert choose_task(made, str(tmp_path / task), recipe(task_row=1)) == 1
        return made.bert.embeddings.token_type_embeddings.weight.detach()

    torch.testing.assert_close(types(TASKS[0], True), types(TASKS[1], False), atol=1e-6, rtol=0)
