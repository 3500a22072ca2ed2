"""Models are judged alike, each by what a verb of its own would say, with differences from the
first one.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.evaluation.intervals import paired_difference
from ernie_cmtl.settings import dump
from ernie_cmtl.verbs.compare import Judging, compare
from ernie_cmtl.verbs.evaluate import Measures, evaluate
from ernie_cmtl.verbs.finetune import finetune
from tests.support.command_line import call, mistake, result_of
from tests.support.finetuning import ROWS, recipe_of, save_ernie
from tests.support.judging import small_model

GOOD = ["the good day", "the sun of john", "who came ?", "the sunny night", "mary came"]
BAD = ["good the day", "the of sun john", "came who ?", "the night sunny", "came mary"]
SEEDS: dict[str, Any] = {"train": {"seeds": [1, 2], "max_steps": 2}}


@pytest.fixture(scope="module")
def models(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two encoders with different vocabularies."""
    folder = tmp_path_factory.mktemp("models")
    small = small_model(english)
    small.model.save_pretrained(folder / "other")
    small.tokenizer.save_pretrained(folder / "other")
    return [save_ernie(folder / "first"), str(folder / "other")]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    pairs = [{"good": good, "bad": bad} for good, bad in zip(GOOD, BAD, strict=True)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    rows = [f"{one}\t{GOOD[n - 1]}\t{n}" for n, one in enumerate(GOOD)]
    (folder / "sts.tsv").write_text("\n".join(["sentence1\tsentence2\tscore", *rows]))
    lines = "".join(json.dumps(row) + "\n" for row in ROWS["classification"])
    (folder / "rows.jsonl").write_text(lines)
    (folder / "toy.yaml").write_text(dump(recipe_of("classification", **SEEDS)))
    return folder


def silent(model: str, measure: str, run: dict[str, Any] | None) -> None:
    pass


def test_values_are_those_of_the_other_verbs(models: list[str], files: Path) -> None:
    pairs, sts = files / "pairs.jsonl", files / "sts.tsv"
    recipe = recipe_of("classification", **SEEDS)
    judging = Judging({"toy": recipe}, files, pairs, False, sts, random=True)
    result = compare(models, judging, silent)
    found = {measure["name"]: measure for measure in result["measures"]}
    assert list(found) == [
        "minimal pairs of pairs.jsonl: accuracy",
        "similarity of sts.tsv, mean embedding: Pearson",
        "similarity of sts.tsv, cls embedding: Pearson",
        "toy: accuracy on test",
    ]
    # Vocabularies differ, and none of these measures depends on them.
    for model in models:
        alone = evaluate(model, None, None, [], Measures(minimal_pairs=pairs, sts=sts))
        values = [measure["models"][model]["value"] for measure in found.values()]
        expected = [alone["minimal_pairs"]["accuracy"]]
        expected += [alone["sts"][name]["pearson"] for name in ("mean", "cls")]
        assert values[:3] == pytest.approx(expected, abs=1e-6)
        assert values[3] == finetune(model, recipe, files, None, lambda _: None)["mean"]
    tuned = found["toy: accuracy on test"]
    first, other = models
    assert list(tuned["models"]) == [first, other, f"{first}, random"]
    assert (tuned["reference"], tuned["count"]) == (0.5, "2 seed(s)")
    scores = {
        model: {run["seed"]: run["test"]["accuracy"] for run in one["runs"]}
        for model, one in result["details"]["toy"].items()
    }
    expected_difference = paired_difference(scores[other], scores[first])
    assert expected_difference is not None
    told = tuned["models"][other]
    assert (told["difference"], told["difference_interval"]) == expected_difference
    assert result["details"]["toy"][f"{first}, random"]["init"] == "random"
    for measure in found.values():
        assert measure["models"][first]["difference"] is None


def test_a_kept_model_is_compared_as_a_base_and_has_no_masked_tokens(
    models: list[str], files: Path, tmp_path: Path
) -> None:
    recipe = recipe_of("classification", **SEEDS)
    kept = str(tmp_path / "kept")
    finetune(models[0], recipe, files, None, lambda _: None, None, tmp_path / "kept", "toy")
    result = compare(
        [models[0], kept], Judging({"toy": recipe}, files, sts=files / "sts.tsv"), silent
    )
    assert kept in result["measures"][-1]["models"]
    with pytest.raises(UserError, match=rf"{kept!r} has no masked-language-model head"):
        compare([models[0], kept], Judging(pairs=files / "pairs.jsonl"), silent)


def test_the_verb_shows_a_table_and_writes_result_and_picture(
    models: list[str], files: Path, tmp_path: Path
) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    words = ("compare", *models, "--task", files / "toy.yaml", "--data", files)
    words += ("--pairs", files / "pairs.jsonl", "--output", tmp_path / "out")
    words += ("--figure", tmp_path / "figure.png", "train.seeds=[1]")
    done = call(*words)
    assert done.exit_code == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(f"  {models[1]}")]
    assert len(rows) == 2
    result = json.loads((tmp_path / "out/comparison.json").read_text())
    pairs, tuned = (measure["models"][models[1]] for measure in result["measures"])
    low, high = pairs["interval"]
    assert f"{pairs['value']:.4f} ({low:.4f} to {high:.4f})" in rows[0]
    assert f"{pairs['difference']:+.4f} (" in rows[0]
    # One seed has a difference and no interval.
    assert tuned["interval"] is tuned["difference_interval"] is None
    assert rows[1].split()[1:] == [f"{tuned['value']:.4f}", f"{tuned['difference']:+.4f}"]
    assert done.stderr.count("seed 1") == 2
    drawn = (tmp_path / "out/comparison.svg").read_text()
    assert drawn.startswith("<svg")
    assert all(Path(model).name in drawn for model in models)
    for path in (tmp_path / "out/comparison.png", tmp_path / "figure.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    # The same again replaces what the first call wrote.
    assert result_of(*words)["output"] == str(tmp_path / "out")


def test_the_extra_is_named_only_where_a_picture_is_asked_for(
    models: list[str], files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "altair", None)
    words = ("compare", *models, "--sts", files / "sts.tsv")
    assert len(result_of(*words)["measures"]) == 2
    for option in (("--output", tmp_path / "out"), ("--figure", tmp_path / "figure.svg")):
        assert "pipinstall'ernie-cmtl[report]'" in mistake(*words, *option)
    assert list(tmp_path.iterdir()) == []


def test_wrong_words_are_one_message(models: list[str], files: Path, tmp_path: Path) -> None:
    sts = ("--sts", files / "sts.tsv")
    task = ("--task", files / "toy.yaml", "--data", files)
    assert "needstwomodels" in mistake("compare", models[0], *sts)
    assert "isnamedtwice" in mistake("compare", models[0], models[0], *sts)
    assert "nothingtocompareby" in mistake("compare", *models)
    assert "isfine-tunedbyrecipes" in mistake("compare", *models, *sts, "--random")
    assert "isofarecipe" in mistake("compare", *models, *sts, "train.seeds=[1]")
    assert "unknownkey'sedes'" in mistake("compare", *models, *task, "sedes=[1]")
    twice = (*task, "--task", tmp_path / "toy.yaml")
    assert "tworecipesarecalled'toy'" in mistake("compare", *models, *twice)
    pytest.importorskip("altair")
    assert "itsendingisnoneof.svg,.png" in mistake("compare", *models, *sts, "--figure", "a.pdf")
