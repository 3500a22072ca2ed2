"""A run, its export and any model are judged alike; held-out examples can be those of another
run.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertModel, GPT2Config, GPT2LMHeadModel

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.run.open import open_run, score_heldout
from ernie_cmtl.run.run import Run
from ernie_cmtl.training.distributed import Workers
from ernie_cmtl.verbs.evaluate import Measures, evaluate, evaluate_run
from ernie_cmtl.verbs.export import export_run
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.judging import OBVIOUS
from tests.support.runs import Watcher, tiny_settings

PAIRS = Measures(minimal_pairs=OBVIOUS)
BERT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


@pytest.fixture(scope="module")
def run(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps in which every task has masked tokens."""
    folder = tmp_path_factory.mktemp("judge") / "run"
    settings = tiny_settings(english, folder)
    del settings["stages"]
    settings["preset"] = {
        "name": "multitask",
        "tasks": {"knowledge_masking": {}, "capitalization": {}},
        "budget": 3,
    }
    settings["tasks"] = {"capitalization": {"masked_tokens": True}}
    pretrain(RunConfig.model_validate(settings), Watcher())
    return folder


def test_a_run_and_its_export_score_alike(run: Path, tmp_path: Path) -> None:
    export_run(run, tmp_path / "model", None)
    found = evaluate(str(run), None, None, [], PAIRS)
    exported = evaluate(str(tmp_path / "model"), None, None, [], PAIRS)
    assert set(exported) == {"model", "minimal_pairs"}
    for result in (found, exported):
        del result["minimal_pairs"]["pairs_per_second"]
    assert found["minimal_pairs"] == exported["minimal_pairs"]
    assert found["heldout"] == evaluate_run(run, None)["heldout"]


def test_held_out_examples_without_masked_tokens_are_those_of_a_run_without(run: Path) -> None:
    given = ["tasks.capitalization.masked_tokens=false", "training.heldout.samples=7"]
    found = evaluate(str(run), None, None, given, Measures())
    opened, model, _ = open_run(run)
    plain = opened.config.model_dump(mode="json") | {"tasks": {}}
    plain["training"]["heldout"]["samples"] = 7
    other = Run(RunConfig.model_validate(plain))
    expected = score_heldout(other, model, Workers("fp32"), other.streams("heldout"))
    assert found["heldout"] == expected
    assert set(expected) == {"knowledge_masking/masked_token", "capitalization/capital"}
    own = evaluate_run(run, None)["heldout"]
    assert set(own) == {*expected, "capitalization/masked_token"}
    assert own["capitalization/capital"] != expected["capitalization/capital"]
    assert found["settings"] == given


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.row_length=32", "evaluate takes tasks.NAME.OPTION=value"),
        (
            "tasks.sentence_order.masked_tokens=false",
            "tasks without a budget in any stage: sentence_order",
        ),
        ("tasks.capitalization.type=sentence_order", "has no head 'capitalization/"),
    ],
)
def test_settings_that_do_not_fit_the_run_are_refused(
    run: Path, setting: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(str(run), None, None, [setting], Measures())


def test_a_model_that_is_no_run_takes_no_settings(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run folder: it takes no --step"):
        evaluate(str(tmp_path), 3, None, [], PAIRS)


def test_the_tasks_of_a_run_are_compared(run: Path) -> None:
    given = ["training.heldout.samples=200"]
    found = evaluate(str(run), None, None, given, Measures(related_by=1))["relatedness"]
    assert (found["layers"], found["samples"]) == (1, 200)
    assert 0.2 < found["reliability"]["capitalization"] <= 1
    assert set(found["cosine"]) == {"knowledge_masking", "capitalization"}
    assert "relatedness" not in evaluate(str(run), None, None, [], Measures())
    # The held-out scores are those of the model as it is.
    plain = evaluate(str(run), None, None, given, Measures())
    related = evaluate(str(run), None, None, given, Measures(related_by=2))
    assert related["heldout"] == plain["heldout"]
    assert related["relatedness"] != found


def test_what_is_no_run_has_no_tasks_to_compare(run: Path, tmp_path: Path) -> None:
    measures = Measures(minimal_pairs=OBVIOUS, related_by=2)
    with pytest.raises(UserError, match="is no run folder: --relatedness compares the tasks of"):
        evaluate(str(tmp_path), None, None, [], measures)
    with pytest.raises(UserError, match="is no run folder"):
        evaluate(str(tmp_path), None, None, [], Measures(related_by=2))
    with pytest.raises(UserError, match="--layers 3 does not fit the encoder; accepted: 1 to 2"):
        evaluate(str(run), None, None, [], Measures(related_by=3))


def save(corpus: Corpus, folder: Path, model: Any, tokenizer: bool = True) -> str:
    model.save_pretrained(folder)
    if tokenizer:
        corpus.tokenizer.save_pretrained(folder)
    return str(folder)


def test_models_that_cannot_be_judged_are_refused(english: Corpus, tmp_path: Path) -> None:
    size = english.vocabulary.size
    bert = BertConfig(vocab_size=size, **BERT)
    bare = save(english, tmp_path / "bare", BertModel(bert))
    speechless = save(english, tmp_path / "speechless", BertForMaskedLM(bert), tokenizer=False)
    forward = save(
        english,
        tmp_path / "gpt",
        GPT2LMHeadModel(GPT2Config(vocab_size=size, n_embd=16, n_layer=1, n_head=2)),
    )
    foreign = save(
        english, tmp_path / "foreign", BertForMaskedLM(BertConfig(vocab_size=size - 1, **BERT))
    )
    (tmp_path / "empty").mkdir()
    refused = {
        bare: "has no masked-language-model head: it lacks cls.",
        speechless: "cannot load a tokenizer",
        forward: "is a 'gpt2', a kind that has no masked-language-model head",
        foreign: f"has {size - 1} rows for tokens and its tokenizer {size}",
        str(tmp_path / "empty"): "cannot be loaded",
    }
    for name, message in refused.items():
        with pytest.raises(UserError, match=message):
            evaluate(name, None, None, [], PAIRS)


def test_a_checkpoint_that_is_pickled_is_refused(english: Corpus, tmp_path: Path) -> None:
    model = BertForMaskedLM(BertConfig(vocab_size=english.vocabulary.size, **BERT))
    name = save(english, tmp_path, model)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match="holds no safetensors weights"):
        evaluate(name, None, None, [], PAIRS)
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"cls": "pytorch_model.bin"}})
    )
    with pytest.raises(UserError, match=r"names 'pytorch_model\.bin'"):
        evaluate(name, None, None, [], PAIRS)
