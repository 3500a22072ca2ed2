"""The model that `finetune --output` keeps is the judged one, and stock classes load it."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForTokenClassification,
    AutoTokenizer,
    pipeline,
)

from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.finetune import Keep, finetune
from ernie_cmtl.finetuning.keeping import BestModel, Judged
from ernie_cmtl.finetuning.kept import KEPT
from ernie_cmtl.finetuning.kinds import KINDS
from ernie_cmtl.finetuning.models import new_model
from ernie_cmtl.finetuning.sets.recipe import Recipe
from ernie_cmtl.finetuning.sets.rows import LabelledRow
from ernie_cmtl.settings import dump
from ernie_cmtl.verbs.finetune import finetune as finetune_verb
from tests.support.command_line import mistake, result_of
from tests.support.finetuning import ROWS, WriteRows, recipe_of
from tests.support.runs import finished_run


def kept(model: str, folder: Path, recipe: Recipe, output: Path) -> dict[str, Any]:
    return finetune_verb(model, recipe, folder, None, lambda _: None, None, output, "toy")


def fake(rate: float, seed: int, dev: float | None) -> Judged:
    class Model:
        device = torch.device("cpu")

        def save_pretrained(self, folder: Path) -> None:
            folder.mkdir()
            (folder / "config.json").write_text(f"{rate} {seed}")

    scores = {} if dev is None else {"dev": {"f1": dev}}
    return Judged(Model(), {"learning_rate": rate, "seed": seed} | scores, {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        # The best single model is of the rate with the lower mean.
        ({1e-3: [0.9, 0.1], 1e-4: [0.6, 0.7]}, (1e-4, 2)),
        ({1e-3: [0.6, 0.7], 1e-4: [0.9, 0.1]}, (1e-3, 2)),
        ({1e-3: [0.5, 0.5], 1e-4: [0.5, 0.5]}, (1e-3, 1)),
        ({1e-3: [None, None]}, (1e-3, 1)),
    ],
)
def test_the_best_model_of_the_best_rate_is_kept(
    scores: dict[float, list[float | None]], chosen: tuple[float, int], tmp_path: Path
) -> None:
    best = BestModel(tmp_path, "f1")
    for rate, found in scores.items():
        for seed, score in enumerate(found, 1):
            best.offer(fake(rate, seed, score))
        best.end_rate()
    run = best.finish().run
    assert (run["learning_rate"], run["seed"]) == chosen
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert (tmp_path / "config.json").read_text() == f"{chosen[0]} {chosen[1]}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_kept_with_a_card_whose_example_runs(
    kind: str,
    model: str,
    write: WriteRows,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = write("rows.jsonl", ROWS[kind])
    output = folder / "kept"
    result = kept(model, folder, recipe_of(kind, task_row=2), output)
    assert result["kept"]["max_abs_logit_difference"] < 1e-4
    about = json.loads((output / KEPT).read_text())
    assert about["recipe"]["kind"] == kind
    assert about["kept"]["test"] == result["runs"][0]["test"]
    assert about["all_models"]["mean"] == result["mean"]
    config = json.loads((output / "config.json").read_text())
    names = about["labels"] or (["start", "end"] if kind == "span" else ["label"])
    assert list(config["id2label"].values()) == names
    assert config["label2id"] == {name: number for number, name in enumerate(names)}
    assert str(folder) not in (output / "config.json").read_text()
    card = (output / "README.md").read_text(encoding="utf-8")
    assert f"{result['mean']:.4f}" in card
    (block,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    monkeypatch.chdir(output)
    exec(block, {})
    assert capsys.readouterr().out


def test_a_pipeline_scores_exactly_what_was_reported(english: Any, tmp_path: Path) -> None:
    """From text to a pipeline, by the commands that a user has; the encoder's own row is folded."""
    run = finished_run(english, tmp_path / "run", positions="rotary")
    rows = [(f"the {name} is {value}", value) for name in "abcdefgh" for value in ("empty", "full")]
    lines = "".join(f"{text}\t{label}\n" for text, label in rows)
    (tmp_path / "rows.tsv").write_text("text\tlabel\n" + lines)
    recipe = Recipe.model_validate(
        {
            "kind": "classification",
            "data": {"train": "rows.tsv", "test": "rows.tsv"},
            "columns": {"text": "text", "label": "label"},
            "train": {"learning_rates": [3e-3], "seeds": [1, 2], "max_steps": 3},
        }
    )
    (tmp_path / "toy.yaml").write_text(dump(recipe))
    words = ("--task", tmp_path / "toy.yaml", "--data", tmp_path, "--output", tmp_path / "kept")
    result = result_of("finetune", run, *words)
    assert result["kept"]["path"] == str(tmp_path / "kept")
    assert result["kept"]["seed"] == 1
    classify = pipeline("text-classification", model=str(tmp_path / "kept"))
    found = classify([text for text, _ in rows], truncation=True)
    right = sum(one["label"] == label for one, (_, label) in zip(found, rows, strict=True))
    assert right / len(rows) == result["kept"]["test"]["accuracy"]
    assert {one["label"] for one in found} <= {"empty", "full"}


def test_words_get_from_a_stock_model_the_labels_that_were_judged(
    model: str, write: WriteRows
) -> None:
    folder = write("rows.jsonl", ROWS["tokens"])
    result = kept(model, folder, recipe_of("tokens"), folder / "kept")
    stock = AutoModelForTokenClassification.from_pretrained(folder / "kept")
    tokenizer = AutoTokenizer.from_pretrained(folder / "kept")
    right = words = 0
    for row in ROWS["tokens"]:
        batch = tokenizer(row["text"].split(), is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            best = stock(**batch).logits[0].argmax(-1).tolist()
        word_ids = batch.word_ids(0)
        for number, label in enumerate(row["label"].split()):
            right += stock.config.id2label[best[word_ids.index(number)]] == label
            words += 1
    assert right / words == pytest.approx(result["kept"]["test"]["accuracy"])


def test_pairs_are_scored_by_a_pipeline_without_a_squeeze(model: str, write: WriteRows) -> None:
    folder = write("rows.jsonl", ROWS["ranking"])
    kept(model, folder, recipe_of("ranking"), folder / "kept")
    pairs = [{"text": row["text"], "text_pair": row["pair"]} for row in ROWS["ranking"]]
    score = pipeline("text-classification", model=str(folder / "kept"))
    found = [one["score"] for one in score(pairs)]
    assert min(found) < 0 or max(found) > 1
    grades = np.array([row["label"] for row in ROWS["ranking"]])
    assert min(np.array(found)[grades == 1]) > max(np.array(found)[grades == 0])


def test_an_answer_is_found_by_the_stock_class(model: str, write: WriteRows) -> None:
    folder = write("rows.jsonl", ROWS["span"])
    kept(model, folder, recipe_of("span"), folder / "kept")
    stock = AutoModelForQuestionAnswering.from_pretrained(folder / "kept")
    tokenizer = AutoTokenizer.from_pretrained(folder / "kept")
    inputs = tokenizer("who?", "the rain of mary came", return_tensors="pt")
    with torch.no_grad():
        outputs = stock(**inputs)
    place = int(outputs.start_logits.argmax())
    assert tokenizer.decode(inputs["input_ids"][0, place]) == "mary"
    assert int(outputs.end_logits.argmax()) == place


def test_a_kept_model_that_computes_something_else_is_no_success(
    model: str, write: WriteRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write("rows.jsonl", ROWS["classification"])
    finish = BestModel.finish

    def shifted(best: BestModel) -> Any:
        chosen = finish(best)
        chosen.outputs["test"][0] = chosen.outputs["test"][0] + 2e-4
        return chosen

    monkeypatch.setattr(BestModel, "finish", shifted)
    with pytest.raises(RuntimeError, match=r"does not compute what was judged: .* on test is 0\.0"):
        kept(model, folder, recipe_of("classification"), folder / "kept")
    assert not (folder / "kept").exists()


def test_a_kept_model_gets_a_new_head_where_it_is_fine_tuned_again(
    model: str, write: WriteRows
) -> None:
    folder = write("rows.jsonl", ROWS["classification"])
    kept(model, folder, recipe_of("classification"), folder / "kept")
    settings = Recipe.model_validate(
        recipe_of("classification").model_dump(mode="json") | {"labels": ["a", "b", "c"]}
    )
    labels = {"classification": settings, "regression": recipe_of("regression")}
    for kind, recipe in labels.items():
        row = LabelledRow("row 1", "sun", None, "1", None)
        first, second, trained = (
            new_model(source, KINDS[recipe.kind](recipe, [row]), recipe, seed)
            for source, seed in ((str(folder / "kept"), 1), (str(folder / "kept"), 2), (model, 1))
        )
        words = "ernie.embeddings.word_embeddings.weight"
        states = [made.state_dict() for made in (first, second, trained)]
        assert torch.equal(states[0][words], states[1][words])
        assert not torch.equal(states[0][words], states[2][words])
        assert not torch.equal(states[0]["classifier.weight"], states[1]["classifier.weight"])
        assert states[0]["classifier.weight"].shape[0] == (3 if kind == "classification" else 1)


def test_an_output_is_refused_before_anything_is_trained(model: str, write: WriteRows) -> None:
    folder = write("rows.jsonl", ROWS["classification"])
    (folder / "toy.yaml").write_text(dump(recipe_of("classification")))
    words = ("finetune", model, "--task", folder / "toy.yaml", "--data", folder, "--output")
    assert "isnotemptyandnoearlierexport" in mistake(*words, folder)
    assert "isthemodelitself" in mistake(*words, model)
    assert "isafile" in mistake(*words, folder / "toy.yaml")


def test_a_kept_model_is_replaced_by_a_new_one_and_a_changed_one_is_not(
    model: str, write: WriteRows
) -> None:
    folder, output = write("rows.jsonl", ROWS["classification"]), None
    output = folder / "kept"
    recipe = recipe_of("classification", train={"max_steps": 1})
    first = kept(model, folder, recipe, output)
    (output / "notes.txt").write_text("mine")
    second = kept(model, folder, recipe, output)
    assert first["scores"] == second["scores"]
    assert (output / "notes.txt").read_text() == "mine"
    (output / "README.md").write_text("changed")
    with pytest.raises(UserError, match=r"README\.md was changed since it was exported"):
        kept(model, folder, recipe, output)


def test_without_output_nothing_is_kept(model: str, write: WriteRows) -> None:
    folder = write("rows.jsonl", ROWS["classification"])
    recipe = recipe_of("classification", train={"max_steps": 1})
    assert "kept" not in finetune(model, recipe, folder, lambda _: None)
    assert [path.name for path in folder.iterdir()] == ["rows.jsonl"]
    (folder / "kept").mkdir()
    keep = Keep(folder / "kept", "kept", model, "toy")
    assert "kept" in finetune(model, recipe, folder, lambda _: None, keep)
