"""A ModernBERT encoder leaves as the stock class, with the view of one task in its word table."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    ModernBertForMaskedLM,
    ModernBertModel,
)

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.task_views import choose_task
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.model.task_parameters import task_table
from ernie_cmtl.run.run import Run
from ernie_cmtl.verbs.evaluate import masked_lm_of_run
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.encoders import ENCODERS
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
    folder = tmp_path_factory.mktemp("modernbert") / "run"
    settings = tiny_settings(english, folder)
    settings["encoder"] |= ENCODERS["modernbert_windows"] | {"rotary_base": 300.0}
    settings["optimizer"] |= {"learning_rate": 0.02}
    pretrain(RunConfig.model_validate(settings), Watcher())
    return folder


def log_probabilities(scores: list[Tensor]) -> list[Tensor]:
    return [rows.log_softmax(-1) for rows in scores]


@pytest.mark.parametrize("row", range(len(TASKS)))
def test_each_view_computes_what_the_run_does_for_its_task(
    exports: dict[str, dict[str, Any]], trained: MultiTaskModel, english: Corpus, row: int
) -> None:
    report = exports[TASKS[row]]
    assert report["max_abs_logit_difference"] == 0
    assert report["max_abs_log_probability_difference"] < 1e-5
    assert report["max_abs_hidden_state_difference"] < 1e-5
    loaded, about = AutoModelForMaskedLM.from_pretrained(report["path"], output_loading_info=True)
    assert type(loaded) is ModernBertForMaskedLM
    assert not about["missing_keys"]
    with torch.no_grad():
        rows = [loaded(torch.tensor([tokens])).logits[0] for tokens in sentences(english)]
    found = log_probabilities(rows)
    # Segments are not told apart.
    expected = log_probabilities(vocabulary_scores(trained, english, row, segment=3))
    assert largest_difference(found, expected) < 1e-4
    other = log_probabilities(vocabulary_scores(trained, english, (row + 1) % 3))
    assert largest_difference(found, other) > 1e-3


def test_stock_classes_load_it_and_only_classifiers_are_fresh(
    exports: dict[str, dict[str, Any]], trained: MultiTaskModel
) -> None:
    path = exports[TASKS[0]]["path"]
    encoder, about = AutoModel.from_pretrained(path, output_loading_info=True)
    assert type(encoder) is ModernBertModel
    assert not about["missing_keys"]
    for kind in (
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        AutoModelForQuestionAnswering,
    ):
        model, about = kind.from_pretrained(path, output_loading_info=True)
        assert {*about["missing_keys"]} == {"classifier.weight", "classifier.bias"}
        assert torch.equal(model.head.dense.weight, trained.vocabulary_head.transform.dense.weight)


def test_the_config_holds_windows_and_rotary_bases(exports: dict[str, dict[str, Any]]) -> None:
    path = Path(exports[TASKS[0]]["path"])
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    assert config["layer_types"] == ["full_attention", "sliding_attention", "full_attention"]
    assert config["local_attention"] == 8
    assert config["rope_parameters"]["full_attention"]["rope_theta"] == 300
    assert config["rope_parameters"]["sliding_attention"]["rope_theta"] == 100
    assert config["attention_dropout"] == 0
    card = (path / "README.md").read_text(encoding="utf-8")
    assert "view of one task, `knowledge_masking` (row 0)" in card
    assert "task_type_ids" not in card
    assert "token_type_ids" not in AutoTokenizer.from_pretrained(path)("a list", "a string")


def test_all_rows_are_kept_and_lead_to_every_other_view(
    exports: dict[str, dict[str, Any]], trained: MultiTaskModel
) -> None:
    path = exports[TASKS[0]]["path"]
    rows = load_file(Path(path) / "task_embedding.safetensors")["rows"]
    assert torch.equal(rows, task_table(trained.family))

    def words(task: str, row: int | str | None) -> Tensor:
        made = AutoModelForSequenceClassification.from_pretrained(exports[task]["path"])
        assert choose_task(made, exports[task]["path"], recipe(task_row=row)) == (
            TASKS.index(task) if row is None else row
        )
        return made.model.embeddings.tok_embeddings.weight.detach()

    for row, task in enumerate(TASKS):
        torch.testing.assert_close(words(TASKS[0], row), words(task, None), atol=1e-6, rtol=0)
    mean = words(TASKS[0], "mean") - words(TASKS[0], None)
    torch.testing.assert_close(mean[7], rows[:3].mean(0) - rows[0], atol=1e-6, rtol=0)
    fresh = words(TASKS[0], "fresh") - words(TASKS[0], None)
    assert 0 < float((fresh + rows[0]).std()) < 0.1


def test_a_run_starts_from_an_export(
    exports: dict[str, dict[str, Any]],
    trained: MultiTaskModel,
    english: Corpus,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = start_from(english, exports[TASKS[0]]["path"]).config
    encoder = config.encoder.model_copy(update={"architecture": "modernbert"})
    model = Run(config.model_copy(update={"encoder": encoder})).new_model()
    assert not caplog.messages
    sizes = trained.family.config.model_dump(exclude={"init_from"})
    assert model.family.config.model_dump(exclude={"init_from"}) == sizes | {"dropout": 0.1}
    # The folded row is part of the words, and the rows of the new run begin at zero.
    expected = log_probabilities(vocabulary_scores(trained, english))
    for task in (0, 5):
        found = log_probabilities(vocabulary_scores(model, english, task))
        assert largest_difference(found, expected) < 1e-4


def test_a_start_from_another_kind_is_refused(
    exports: dict[str, dict[str, Any]], english: Corpus, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"is a 'modernbert' checkpoint; accepted .* bert, ernie"):
        start_from(english, exports[TASKS[0]]["path"]).new_model()
    save_bert(english, tmp_path)
    config = start_from(english, tmp_path).config
    encoder = config.encoder.model_copy(update={"architecture": "modernbert"})
    with pytest.raises(UserError, match=r"is a 'bert' checkpoint; .*'modernbert': modernbert"):
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
