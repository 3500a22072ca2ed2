"""An encoder with rotary positions leaves as the stock class that computes the same, with the view
of one task in its weights.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    JinaEmbeddingsV3ForMaskedLM,
    JinaEmbeddingsV3Model,
)

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.task_views import choose_task
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.model.task_parameters import task_table
from ernie_cmtl.run.run import Run
from ernie_cmtl.verbs.evaluate import masked_lm_of_run
from ernie_cmtl.verbs.export import export_run
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.models import (
    largest_difference,
    save_bert,
    sentences,
    start_from,
    vocabulary_scores,
)
from tests.support.runs import TINY_TASKS, Watcher, tiny_settings
from tests.support.tuning import recipe

TASKS = TINY_TASKS


@pytest.fixture(scope="module")
def run_folder(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose learning rate is so high that every weight shows."""
    folder = tmp_path_factory.mktemp("rotary") / "run"
    settings = tiny_settings(english, folder)
    settings["encoder"] |= {"positions": "rotary", "rotary_base": 300.0}
    settings["optimizer"] |= {"learning_rate": 0.05}
    pretrain(RunConfig.model_validate(settings), Watcher())
    return folder


def test_the_view_of_masked_tokens_is_the_default(run_folder: Path, tmp_path: Path) -> None:
    export_run(run_folder, tmp_path / "model", None)
    about = json.loads((tmp_path / "model" / "pretraining.json").read_text(encoding="utf-8"))
    assert about["folded_row"] == 0
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "view of one task, `knowledge_masking` (row 0)" in card
    assert "transformers 5.17 or newer" in card
    assert "task_type_ids" not in card
    assert "sentence-transformers" not in card


@pytest.mark.parametrize("row", range(len(TASKS)))
def test_each_view_computes_what_the_run_does_for_its_task(
    exports: dict[str, dict[str, Any]], trained: MultiTaskModel, english: Corpus, row: int
) -> None:
    report = exports[TASKS[row]]
    assert report["max_abs_logit_difference"] == 0
    assert report["max_abs_log_probability_difference"] < 1e-5
    assert report["max_abs_hidden_state_difference"] < 1e-5
    loaded, about = AutoModelForMaskedLM.from_pretrained(report["path"], output_loading_info=True)
    assert type(loaded) is JinaEmbeddingsV3ForMaskedLM
    assert not about["missing_keys"]
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


def test_the_bare_encoder_has_the_pooler_and_nothing_is_missing(
    exports: dict[str, dict[str, Any]], trained: MultiTaskModel
) -> None:
    path = exports[TASKS[0]]["path"]
    encoder, about = AutoModel.from_pretrained(path, output_loading_info=True)
    assert type(encoder) is JinaEmbeddingsV3Model
    assert not about["missing_keys"]
    assert torch.equal(encoder.pooler.dense.weight, trained.encoder.pooler.dense.weight)


def test_heads_of_other_classes_begin_with_what_was_learned(
    exports: dict[str, dict[str, Any]], trained: MultiTaskModel
) -> None:
    path = exports[TASKS[0]]["path"]
    model, about = AutoModelForSequenceClassification.from_pretrained(
        path, output_loading_info=True
    )
    assert {*about["missing_keys"]} == {"classifier.out_proj.weight", "classifier.out_proj.bias"}
    assert torch.equal(model.classifier.dense.weight, trained.encoder.pooler.dense.weight)
    for kind in (AutoModelForTokenClassification, AutoModelForQuestionAnswering):
        _, about = kind.from_pretrained(path, output_loading_info=True)
        assert not [name for name in about["missing_keys"] if name.startswith("roberta.")]


def test_the_tokenizer_tells_segments_apart(exports: dict[str, dict[str, Any]]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(exports[TASKS[0]]["path"])
    assert tokenizer("a list", "a string")["token_type_ids"][-1] == 1


def test_all_rows_are_kept_and_lead_to_every_other_view(
    exports: dict[str, dict[str, Any]], trained: MultiTaskModel
) -> None:
    path = exports[TASKS[0]]["path"]
    rows = load_file(Path(path) / "task_embedding.safetensors")["rows"]
    assert torch.equal(rows, task_table(trained.family))

    def types(task: str, row: int | str | None) -> torch.Tensor:
        made = AutoModelForSequenceClassification.from_pretrained(exports[task]["path"])
        assert choose_task(made, exports[task]["path"], recipe(task_row=row)) == (
            TASKS.index(task) if row is None else row
        )
        return made.roberta.embeddings.token_type_embeddings.weight.detach()

    for row, task in enumerate(TASKS):
        torch.testing.assert_close(types(TASKS[0], row), types(task, None), atol=1e-6, rtol=0)
    mean = types(TASKS[0], "mean") - types(TASKS[0], None)
    torch.testing.assert_close(mean[0], rows[:3].mean(0) - rows[0], atol=1e-6, rtol=0)


def test_a_run_starts_from_an_export(
    exports: dict[str, dict[str, Any]],
    trained: MultiTaskModel,
    english: Corpus,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = start_from(english, exports[TASKS[0]]["path"]).config
    encoder = config.encoder.model_copy(update={"positions": "rotary"})
    model = Run(config.model_copy(update={"encoder": encoder})).new_model()
    assert not caplog.messages
    assert model.family.config.rotary_base == 300
    # The folded row is part of the segments, and the rows of the new run begin at zero.
    expected = vocabulary_scores(trained, english, 0, 1)
    for task in (0, 5):
        assert largest_difference(vocabulary_scores(model, english, task, 1), expected) < 1e-4
    assert torch.equal(model.encoder.pooler.dense.weight, trained.encoder.pooler.dense.weight)


def test_a_start_from_the_other_kind_of_positions_is_refused(
    exports: dict[str, dict[str, Any]], english: Corpus, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"has rotary positions.*set encoder.positions=rotary"):
        start_from(english, exports[TASKS[0]]["path"]).new_model()
    save_bert(english, tmp_path)
    config = start_from(english, tmp_path).config
    encoder = config.encoder.model_copy(update={"positions": "rotary"})
    with pytest.raises(UserError, match=r"has learned positions.*set encoder.positions=learned"):
        Run(config.model_copy(update={"encoder": encoder})).new_model()


def test_a_run_is_judged_in_its_own_view(
    run_folder: Path, exports: dict[str, dict[str, Any]], english: Corpus
) -> None:
    stock = masked_lm_of_run(run_folder, None).model
    loaded = AutoModelForMaskedLM.from_pretrained(exports[TASKS[0]]["path"])
    tokens = torch.tensor([sentences(english)[0]])
    with torch.no_grad():
        found, expected = stock(tokens.to(stock.device)).logits.cpu(), loaded(tokens).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_an_unknown_task_is_refused_and_learned_positions_take_none(
    run_folder: Path, tmp_path: Path, english: Corpus
) -> None:
    with pytest.raises(UserError, match="no task 'speech'; it has knowledge_masking, capital"):
        export_run(run_folder, tmp_path / "model", None, task="speech")
    settings = tiny_settings(english, tmp_path / "learned")
    settings["stages"] = [{"name": "all", "budgets": {"knowledge_masking": 1}}]
    pretrain(RunConfig.model_validate(settings), Watcher())
    with pytest.raises(UserError, match="holds all tasks; leave --task out"):
        export_run(tmp_path / "learned", tmp_path / "model", None, task="knowledge_masking")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rotary_base": 0}, "rotary_base"),
        ({"hidden_size": 30, "attention_heads": 2}, "heads of size 15 .* are odd"),
        ({"activation": "relu"}, "goes with activation 'gelu'"),
        ({"positions": "sine"}, "'learned' or 'rotary'"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    english: Corpus, changes: dict[str, Any], message: str
) -> None:
    settings = tiny_settings(english, Path("unused"))
    settings["encoder"] |= {"positions": "rotary"} | changes
    with pytest.raises(ValueError, match=message):
        RunConfig.model_validate(settings)


def test_rows_that_do_not_belong_to_the_model_are_refused(
    exports: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    path = exports[TASKS[0]]["path"]
    made = AutoModelForSequenceClassification.from_pretrained(path)
    (tmp_path / "pretraining.json").write_text((Path(path) / "pretraining.json").read_text())
    save_file({"rows": torch.zeros(3, 7)}, tmp_path / "task_embedding.safetensors")
    with pytest.raises(UserError, match=r"rows of the shape \[3, 7\]"):
        choose_task(made, str(tmp_path), recipe(task_row=1))
