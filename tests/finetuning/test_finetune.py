"""A recipe carried out on a tiny encoder: every kind learns what can be learned, and the same again
gives the same.
"""

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel
from typer.testing import CliRunner

from ernie_cmtl.cli.app import app
from ernie_cmtl.cli.finetune import result_table
from ernie_cmtl.cli.terminal import Terminal
from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.finetune import best_rate, finetune, spread
from ernie_cmtl.finetuning.kinds import KINDS
from ernie_cmtl.finetuning.kinds.kind import Encoded
from ernie_cmtl.finetuning.models import load_tokenizer, new_model
from ernie_cmtl.finetuning.sets.recipe import Recipe
from ernie_cmtl.finetuning.sets.rows import LabelledRow
from ernie_cmtl.finetuning.task_views import choose_task, task_table
from tests.support.finetuning import PLACES, ROWS, SMALL, WriteRows, recipe_of, word_tokenizer


def carried_out(model: str, folder: Path, recipe: Recipe) -> dict[str, Any]:
    told: list[dict[str, Any]] = []
    result = finetune(model, recipe, folder, told.append)
    assert told == result["runs"]
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_learns_what_words_tell(kind: str, model: str, write: WriteRows) -> None:
    result = carried_out(model, write("rows.jsonl", ROWS[kind]), recipe_of(kind))
    assert result["mean"] > 0.95
    assert result["scores"] == [result["runs"][0]["test"][result["metric"]]]
    assert (result["std"], result["task_row"], result["split"]) == (None, 0, "test")


def test_seeds_and_rates_make_a_model_each_and_the_same_again_gives_the_same(
    model: str, write: WriteRows
) -> None:
    data = {"train": "rows.jsonl", "dev": 0.3, "test": "rows.jsonl", "limit": 6}
    train = {"learning_rates": [1e-3, 1e-4], "seeds": [3, 4], "max_steps": 3}
    recipe = recipe_of("regression", data=data, train=train)
    folder = write("rows.jsonl", ROWS["regression"])
    first, second = (carried_out(model, folder, recipe) for _ in range(2))
    assert [(run["learning_rate"], run["seed"]) for run in first["runs"]] == [
        (1e-3, 3),
        (1e-3, 4),
        (1e-4, 3),
        (1e-4, 4),
    ]
    assert {run["steps"] for run in first["runs"]} == {3}
    assert len({run["loss"] for run in first["runs"]}) == 4
    for one, other in zip(first["runs"], second["runs"], strict=True):
        assert one | {"seconds": 0} == other | {"seconds": 0}
    chosen = [
        run["test"]["pearson"]
        for run in first["runs"]
        if run["learning_rate"] == first["learning_rate"]
    ]
    assert first["scores"] == chosen
    assert first["std"] == pytest.approx(abs(chosen[0] - chosen[1]) / 2**0.5)
    assert first["examples"] == {"train": 6, "dev": 3, "test": 6}


def test_the_rate_is_chosen_on_dev_though_another_does_better_on_test() -> None:
    scores = {
        1e-3: [(0.5, 0.9), (0.6, 0.9)],
        1e-4: [(0.7, 0.2), (0.5, 0.2)],
        1e-5: [(0.6, 0.3), (0.6, 0.3)],
    }
    runs = [
        {"learning_rate": rate, "dev": {"f1": dev}, "test": {"f1": test}}
        for rate, found in scores.items()
        for dev, test in found
    ]
    assert best_rate(runs, "f1") == 1e-4
    assert best_rate([{"learning_rate": 1e-3, "test": {"f1": 0.1}}], "f1") == 1e-3


def test_the_spread_is_the_sample_standard_deviation() -> None:
    assert spread([1.0, 2.0, 3.0]) == pytest.approx(1)
    assert spread([1.0]) is None


def started(model: str, **settings: Any) -> Any:
    recipe = Recipe.model_validate(SMALL | settings)
    rows = [LabelledRow("", "sun", None, label, None) for label in "ab"]
    made = new_model(model, KINDS["classification"](recipe, rows), recipe, seed=1)
    choose_task(made, model, recipe)
    return made.eval()


@torch.inference_mode()
def hidden(encoder: Any, model: str, **inputs: torch.Tensor) -> torch.Tensor:
    tokens = AutoTokenizer.from_pretrained(model)("the sunny day", return_tensors="pt")
    found: torch.Tensor = encoder(**tokens, **inputs).last_hidden_state
    return found


def test_inputs_that_name_no_task_get_the_row_of_the_recipe(model: str) -> None:
    stock = AutoModel.from_pretrained(model).eval()
    table = stock.embeddings.task_type_embeddings.weight.detach().clone()
    for row in (0, 2):
        expected = hidden(stock, model, task_type_ids=torch.full((1, 6), row))
        assert torch.equal(hidden(started(model, task_row=row).ernie, model), expected)
    mean, fresh = (task_table(started(model, task_row=choice)) for choice in ("mean", "fresh"))
    assert mean is not None
    assert fresh is not None
    # Pretraining filled rows 0 and 2.
    assert torch.allclose(mean[0], (table[0] + table[2]) / 2)
    assert not torch.isclose(fresh[0], table).all(1).any()
    assert 0.01 < float(fresh[0].detach().std()) < 0.03
    with pytest.raises(UserError, match="task_row 4: the task embedding has rows 0 to 3"):
        started(model, task_row=4)


def test_a_random_encoder_has_the_size_and_none_of_the_weights(model: str) -> None:
    random, trained = (started(model, init=init).state_dict() for init in ("random", "pretrained"))
    assert {name: value.shape for name, value in random.items()} == {
        name: value.shape for name, value in trained.items()
    }
    words = "ernie.embeddings.word_embeddings.weight"
    assert torch.equal(
        trained[words], AutoModel.from_pretrained(model).state_dict()[words.removeprefix("ernie.")]
    )
    assert not torch.isclose(random[words], trained[words]).all(1)[1:].any()


@pytest.mark.parametrize("init", ["random", "pretrained"])
def test_weights_in_half_precision_are_trained_in_full(
    init: str, model: str, tmp_path: Path
) -> None:
    AutoModel.from_pretrained(model, dtype=torch.float16).save_pretrained(tmp_path / "half")
    assert {
        parameter.dtype for parameter in started(str(tmp_path / "half"), init=init).parameters()
    } == {torch.float32}


def test_a_model_without_task_embedding_says_so(tmp_path: Path, write: WriteRows) -> None:
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    tokenizer = word_tokenizer()
    BertModel(
        BertConfig(vocab_size=len(tokenizer), max_position_embeddings=8, **sizes)
    ).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    rows = [row | {"text": row["text"] * 5} for row in ROWS["classification"]]
    recipe = recipe_of("classification", train={"max_steps": 1})
    result = carried_out(str(tmp_path / "bert"), write("rows.jsonl", rows), recipe)
    assert (result["task_row"], result["maximum_length"]) == (None, 8)


def test_a_model_without_a_tokenizer_is_refused(model: str, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(Path(model) / name, tmp_path)
    with pytest.raises(UserError, match="cannot load a tokenizer"):
        load_tokenizer(str(tmp_path))


def test_pickled_weights_and_code_of_a_model_are_not_touched(model: str, tmp_path: Path) -> None:
    pickled = shutil.copytree(model, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"holds no safetensors weights that fit: it has no model"):
        started(str(pickled))
    foreign = shutil.copytree(model, tmp_path / "foreign")
    settings = json.loads((foreign / "config.json").read_text())
    planted = {
        "_attn_implementation": "kernels-community/flash",
        "quantization_config": {"quant_method": "gptq"},
    }
    (foreign / "config.json").write_text(
        json.dumps(settings | planted | {"attn_implementation": "kernels-community/flash"})
    )
    assert started(str(foreign)).config._attn_implementation in ("sdpa", "eager")


def test_without_the_libraries_the_extra_is_named(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "seqeval.metrics", None)
    with pytest.raises(UserError, match=r"pip install 'ernie-cmtl\[finetune\]'"):
        finetune(model, recipe_of("tokens"), tmp_path, lambda _: None)


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["finetune", *map(str, words)])


RECIPE = """
kind: classification
data: {train: rows.tsv, test: rows.tsv}
columns: {text: text, label: label}
labels: [0, 1]
train: {learning_rates: [1e-3], seeds: [1, 2]}
"""


def test_the_verb_gives_one_result_with_its_recipe(model: str, write: WriteRows) -> None:
    folder = write("rows.tsv", ["label\ttext", '1\t"good', "0\tbad day"])
    (folder / "recipe.yaml").write_text(RECIPE)
    words = (
        model,
        "--task",
        folder / "recipe.yaml",
        "--data",
        folder,
        "train.max_steps=1",
        "--random",
    )
    done = call(*words, "--json")
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert {"metric", "mean", "std", "scores", "split", "learning_rate", "task_row", "runs"} <= set(
        result
    )
    assert (result["model"], result["init"], len(result["scores"])) == (model, "random", 2)
    assert done.stderr.count("learning rate 0.001, seed") == 2
    shown = call(*words).stdout
    assert f"{result['mean']:.4f} ± {result['std']:.4f}" in shown


@pytest.mark.parametrize(
    ("rows", "words", "message"),
    [
        (["label\ttext", "1\tgood", "2\tbad"], [], "rows.tsv, line 3: label '2' is none of 0, 1"),
        (
            ["label\ttext", '1\t"good" day', "0\tbad\tday"],
            [],
            "rows.tsv, line 3: 3 fields, the header has 2",
        ),
        (
            ["label\ttext", "1\tgood"],
            ["columns.text=sentence"],
            "rows.tsv has no column 'sentence'",
        ),
        ([], [], "rows.tsv holds no row"),
        (["label\ttext", "1\tgood"], ["data.train=other.tsv"], "other.tsv"),
        (
            ["label\ttext", "1\tgood"],
            ["colums.text=a"],
            "unknown key 'colums'; did you mean 'columns'",
        ),
        (["label\ttext", "1\tgood", "0\tbad"], ["task_row=9"], "task_row 9"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(
    rows: list[str], words: list[str], message: str, model: str, write: WriteRows
) -> None:
    folder = write("rows.tsv", rows)
    (folder / "recipe.yaml").write_text(RECIPE)
    done = call(model, "--task", folder / "recipe.yaml", "--data", folder, *words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def diverging(model: str, folder: Path, *words: str) -> str:
    """What the verb says of a training that diverges; it must give no score."""
    (folder / "recipe.yaml").write_text(RECIPE)
    task = ("--task", folder / "recipe.yaml", "--data", folder)
    done = call(model, *task, "train.batch_size=2", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    return done.stderr


EIGHT = ["label\ttext", *("1\tgood day", "0\tbad night") * 4]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_rate_at_which_training_diverges_gives_no_score(
    seed: int, model: str, write: WriteRows
) -> None:
    said = diverging(
        model,
        write("rows.tsv", EIGHT),
        "train.learning_rates=[1e30]",
        f"train.seeds=[{seed}]",
        "train.warmup=0",
    )
    assert f"learning rate 1e+30, seed {seed}: diverged at step 2: the loss is nan; try a" in said


def test_the_last_step_is_looked_at_too(model: str, write: WriteRows) -> None:
    words = ("train.learning_rates=[1e30]", "train.warmup=0", "train.max_steps=1")
    said = diverging(model, write("rows.tsv", EIGHT), *words)
    assert "diverged at step 1: what the model gives on test is not finite; try a" in said
    # So large that the update itself is no number.
    words = ("train.learning_rates=[1e300]", *words[1:])
    said = diverging(model, write("rows.tsv", EIGHT), *words)
    assert "diverged at step 1: " in said
    assert "is not finite after it; try a lower learning rate" in said


def test_a_later_seed_that_diverges_gives_no_score_either(
    model: str, write: WriteRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = KINDS["classification"].loss

    def loss(kind: Any, module: torch.nn.Module, inputs: Any) -> torch.Tensor:
        found = one(kind, module, inputs)
        return found * float("nan") if torch.initial_seed() == 2 else found

    monkeypatch.setattr(KINDS["classification"], "loss", loss)
    said = diverging(model, write("rows.tsv", EIGHT), "train.seeds=[1,2]")
    assert "learning rate 0.001, seed 2: diverged at step 1: the loss is nan" in said


def test_weights_that_are_not_finite_are_named(
    model: str, tmp_path: Path, write: WriteRows
) -> None:
    shutil.copytree(model, tmp_path / "broken")
    weights = load_file(tmp_path / "broken" / "model.safetensors")
    name = "ernie.embeddings.word_embeddings.weight"
    weights[name].fill_(float("nan"))
    save_file(weights, tmp_path / "broken" / "model.safetensors", {"format": "pt"})
    said = diverging(str(tmp_path / "broken"), write("rows.tsv", EIGHT))
    assert "diverged at step 1: the loss is nan; the model came with weights that are" in said
    assert name in said


def test_a_model_that_is_not_there_is_named(tmp_path: Path, write: WriteRows) -> None:
    folder = write("rows.tsv", ["label\ttext", "1\tgood", "0\tbad"])
    (folder / "recipe.yaml").write_text(RECIPE)
    done = call(tmp_path / "nothing", "--task", folder / "recipe.yaml", "--data", folder)
    assert done.exit_code == 2
    assert str(tmp_path / "nothing") in done.stderr


def test_scores_come_with_those_of_the_most_frequent_class(model: str, write: WriteRows) -> None:
    rows = [{"text": f"the good {p}", "label": str(p == "sun")} for p in PLACES]
    train = {"learning_rates": [1e-9], "max_steps": 1}
    folder = write("rows.jsonl", rows)
    result = carried_out(model, folder, recipe_of("classification", train=train))
    assert result["majority"] == {"test": {"accuracy": 0.8, "f1": 0.0, "matthews": 0.0}}
    one_class = result["runs"][0]["test"]["matthews"] == 0
    assert result["runs"][0]["one_class"] == (["test"] if one_class else [])
    shown = Terminal(file=io.StringIO(), width=80)
    result["runs"][0]["one_class"] = ["test"]
    shown.show(result_table("toy", result))
    lines = shown.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[2].split()[:3] == ["test", "accuracy", "0.8000"]
    assert lines[-1] == "1 of 1 models answer one class in test"


@pytest.mark.parametrize(("second", "one"), [([2.0, 1.0], True), ([1.0, 2.0], False)])
def test_a_model_that_gives_one_class_is_noticed(second: list[float], one: bool) -> None:
    rows = [LabelledRow(f"row {n}", "a", None, label, None) for n, label in enumerate("xy")]
    kind = KINDS["classification"](recipe_of("classification"), rows)
    predicted = [np.array([2.0, 1.0]), np.array(second)]
    assert kind.answers_one_class(Encoded([]), predicted) is one
    words = [LabelledRow("row", "a b", None, "x y", None)]
    tokens = KINDS["tokens"](recipe_of("tokens"), words)
    where = [(np.array([0, 1]), np.array([0, 1]))]
    assert tokens.answers_one_class(Encoded([], where), [np.stack(predicted)]) is one
    assert tokens.majority_scores(tokens.examples(words))["accuracy"] == 0.5
