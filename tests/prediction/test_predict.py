"""A model answers each row of a file once, in order, and as it was judged."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertForSequenceClassification

from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.kinds import KINDS
from ernie_cmtl.finetuning.kinds.ranking import query_name
from ernie_cmtl.finetuning.sets.rows import LabelledRow, read_unlabelled
from ernie_cmtl.finetuning.sets.scores import (
    answer_scores,
    class_scores,
    correlations,
    label_scores,
    ranking_scores,
)
from ernie_cmtl.prediction import predict
from ernie_cmtl.prediction.lines import answer_lines
from ernie_cmtl.prediction.predict import answer_rows, check_rows, open_predictor
from ernie_cmtl.prediction.predictor import Answer, Predictor
from ernie_cmtl.verbs.finetune import finetune
from tests.support.command_line import call, mistake, result_of
from tests.support.finetuning import ROWS, word_tokenizer
from tests.support.finetuning import recipe_of as recipe_of_kind

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
Kept = dict[str, tuple[Path, dict[str, Any]]]


@pytest.fixture(scope="session")
def kept(model: str, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """A model of each kind that has not learned everything, with its scores."""
    folder = tmp_path_factory.mktemp("kept")
    found = {}
    for kind, rows in ROWS.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "rows.jsonl").write_text(lines)
        recipe = recipe_of_kind(kind, train={"epochs": 14})
        result = finetune(model, recipe, folder, None, lambda _: None, None, folder / kind, kind)
        found[kind] = (folder / kind, result["kept"]["test"])
    return found


def unlabelled(folder: Path, kind: str) -> Path:
    """Write the rows of a kind without their labels."""
    rows = [{name: row[name] for name in row if name != "label"} for row in ROWS[kind]]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answers_of(name: str | Path, path: Path, **columns: str) -> list[Answer]:
    predictor = open_predictor(str(name), columns)
    count = check_rows(predictor, path)
    return list(answer_rows(predictor, path, count, lambda done, total: None))


def scores_of(kind: str, answers: list[Answer]) -> dict[str, float]:
    """Judge answers against the labels of the rows."""
    gold = [row["label"] for row in ROWS[kind]]
    if kind == "classification":
        names = sorted(set(gold))
        numbers = [[names.index(one) for one in side] for side in (gold, _column(answers, "label"))]
        return class_scores(numbers[0], numbers[1], len(names))
    if kind == "regression":
        return correlations(gold, _column(answers, "value"))
    if kind == "tokens":
        return label_scores([label.split() for label in gold], _column(answers, "labels"))
    if kind == "span":
        texts = [[one["text"] for one in row] for row in gold]
        return answer_scores(texts, _column(answers, "answer"), "squad")
    queries: dict[str, list[int]] = {}
    for number, row in enumerate(ROWS[kind]):
        queries.setdefault(row["text"], []).append(number)
    grades, scores = np.array(gold), np.array(_column(answers, "score"))
    return ranking_scores([(grades[places], scores[places]) for places in queries.values()])


def _column(answers: list[Answer], name: str) -> list[Any]:
    return [answer[name] for answer in answers]


@pytest.mark.parametrize("kind", KINDS)
def test_answers_score_exactly_what_finetune_reported(
    kind: str, kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, reported = kept[kind]
    answers = answers_of(model, unlabelled(tmp_path, kind))
    assert len(answers) == len(ROWS[kind])
    found = scores_of(kind, answers)
    assert {name: pytest.approx(value, abs=1e-6) for name, value in reported.items()} == found
    monkeypatch.setattr(predict, "ROWS_AT_ONCE", 3)
    again = answers_of(model, unlabelled(tmp_path, kind))
    assert [answer.keys() for answer in again] == [answer.keys() for answer in answers]
    assert scores_of(kind, again) == pytest.approx(found, rel=0.01)


def test_probabilities_are_of_all_classes(kept: Kept, tmp_path: Path) -> None:
    for answer in answers_of(kept["classification"][0], unlabelled(tmp_path, "classification")):
        probabilities = answer["probabilities"]
        assert set(probabilities) == {"good", "bad"}
        assert sum(probabilities.values()) == pytest.approx(1)
        assert probabilities[answer["label"]] == max(probabilities.values())


def test_an_answer_says_where_it_stands_in_its_passage(kept: Kept, tmp_path: Path) -> None:
    answers = answers_of(kept["span"][0], unlabelled(tmp_path, "span"))
    for row, answer in zip(ROWS["span"], answers, strict=True):
        assert row["pair"][answer["start"] : answer["end"]] == answer["answer"]
    (tmp_path / "empty.jsonl").write_text('{"text": "who?", "pair": ""}\n')
    (nothing,) = answers_of(kept["span"][0], tmp_path / "empty.jsonl")
    assert nothing == {"answer": "", "start": 0, "end": 0, "score": None}


def test_ranks_are_within_a_query_wherever_its_rows_are(tmp_path: Path) -> None:
    class Given(Predictor):
        kind, columns, ranks = "ranking", {"text": "text", "group": "query"}, True

        def check(self, row: LabelledRow) -> None:
            pass

        def answers(self, rows: Any) -> list[Answer]:
            return [{"score": float(row.text)} for row in rows]

    path = tmp_path / "rows.tsv"
    path.write_text("query\ttext\na\t1\nb\t5\na\t3\nb\t6\na\t3\n")
    assert [query_name(row) for row in read_unlabelled(path, Given.columns)] == list("ababa")
    found = list(answer_rows(Given(), path, 5, lambda done, total: None))
    assert found == [
        {"score": 1.0, "rank": 3},
        {"score": 5.0, "rank": 2},
        {"score": 3.0, "rank": 1},
        {"score": 6.0, "rank": 1},
        {"score": 3.0, "rank": 2},
    ]


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_model_of_others_answers_by_its_own_labels(outputs: int, tmp_path: Path) -> None:
    names = {0: "low", 1: "middle", 2: "high"} if outputs == 3 else {0: "height"}
    config = BertConfig(vocab_size=len(word_tokenizer()), id2label=names, **SIZES)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    word_tokenizer().save_pretrained(tmp_path / "bert")
    (tmp_path / "rows.csv").write_text('phrase,other\n"the sun, the rain",moon\nbad,night\n')
    found = answers_of(tmp_path / "bert", tmp_path / "rows.csv", text="phrase", text_pair="other")
    model = BertForSequenceClassification.from_pretrained(tmp_path / "bert")
    inputs = word_tokenizer()(["the sun, the rain", "bad"], ["moon", "night"], padding=True)
    with torch.no_grad():
        logits = model(**{name: torch.tensor(value) for name, value in inputs.items()}).logits
    if outputs == 1:
        assert [answer["value"] for answer in found] == pytest.approx(logits[:, 0].tolist())
        return
    expected = logits.softmax(-1).tolist()
    for answer, row in zip(found, expected, strict=True):
        assert list(answer["probabilities"]) == ["low", "middle", "high"]
        assert list(answer["probabilities"].values()) == pytest.approx(row, abs=1e-6)


def test_a_bare_encoder_gives_the_mean_of_its_tokens(model: str, tmp_path: Path) -> None:
    texts = ["the sunny day", "", "rain"]
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in texts))
    found = answers_of(model, tmp_path / "texts.txt")
    tokenizer, encoder = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model)
    for text, answer in zip(texts, found, strict=True):
        with torch.no_grad():
            states = encoder(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        assert answer["embedding"] == pytest.approx(states.mean(0).tolist(), abs=1e-6)


def _pooled_folder(model: str, folder: Path, pooling: dict[str, Any], *more: str) -> Path:
    shutil.copytree(model, folder)
    kinds = ("Transformer", "Pooling", *more)
    modules = [{"idx": n, "name": str(n), "path": f"{n}_{kind}" if n else "", "type": f"x.{kind}"}
               for n, kind in enumerate(kinds)]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    return folder


@pytest.mark.parametrize(
    ("pooling", "more", "mode"),
    [
        ({"pooling_mode": "cls"}, (), "cls"),
        (
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
            ("Normalize",),
            "cls",
        ),
        ({"pooling_mode": "max"}, (), "max"),
        ({}, (), "mean"),
    ],
)
def test_a_folder_of_sentence_transformers_says_how_to_pool(
    pooling: dict[str, Any], more: tuple[str, ...], mode: str, model: str, tmp_path: Path
) -> None:
    folder = _pooled_folder(model, tmp_path / "st", pooling, *more)
    (tmp_path / "texts.txt").write_text("the sunny day\nrain\n")
    found = np.array([a["embedding"] for a in answers_of(folder, tmp_path / "texts.txt")])
    tokenizer, encoder = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model)
    for text, vector in zip(("the sunny day", "rain"), found, strict=True):
        with torch.no_grad():
            states = encoder(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        expected = {"cls": states[0], "max": states.amax(0), "mean": states.mean(0)}[mode].numpy()
        scale = np.linalg.norm(expected) if more else 1
        assert np.allclose(vector, expected / scale, atol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "more", "message"),
    [
        ({"pooling_mode": "weightedmean"}, (), "pools by 'weightedmean'"),
        ({"pooling_mode_lasttoken": True}, (), "pools by 'lasttoken'"),
        ({}, ("Dense",), "has a module 'Dense'"),
    ],
)
def test_a_pooling_that_is_not_known_is_refused(
    pooling: dict[str, Any], more: tuple[str, ...], message: str, model: str, tmp_path: Path
) -> None:
    folder = _pooled_folder(model, tmp_path / "st", pooling, *more)
    with pytest.raises(UserError, match=f"{message}.*use sentence-transformers"):
        open_predictor(str(folder), {})


def test_a_saved_folder_of_sentence_transformers_gives_its_vectors(
    model: str, tmp_path: Path
) -> None:
    library = pytest.importorskip("sentence_transformers")
    encoder = library.SentenceTransformer(model)
    encoder.save_pretrained(str(tmp_path / "st"))
    (tmp_path / "texts.txt").write_text("the sunny day\nrain\n")
    found = [answer["embedding"] for answer in answers_of(tmp_path / "st", tmp_path / "texts.txt")]
    assert np.allclose(found, encoder.encode(["the sunny day", "rain"]), atol=1e-5)


def changed(kept: Kept, kind: str, folder: Path, file: str, **changes: Any) -> str:
    shutil.copytree(kept[kind][0], folder / "changed")
    path = folder / "changed" / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return str(folder / "changed")


def test_what_does_not_belong_together_is_refused(kept: Kept, tmp_path: Path) -> None:
    labels = {"id2label": {"0": "up", "1": "down"}}
    with pytest.raises(UserError, match=r"has the labels up, down, and finetuning\.json bad, good"):
        open_predictor(changed(kept, "classification", tmp_path, "config.json", **labels), {})
    shutil.rmtree(tmp_path / "changed")
    name = changed(kept, "classification", tmp_path, "config.json")
    shutil.copy(kept["tokens"][0] / "finetuning.json", name)
    with pytest.raises(UserError, match=r"of the kind tokens; config\.json is of one"):
        open_predictor(name, {})
    shutil.rmtree(tmp_path / "changed")
    name = changed(kept, "classification", tmp_path, "config.json", num_hidden_layers=2)
    with pytest.raises(UserError, match=r"lacks weights that its answers depend on: ernie\.enc"):
        open_predictor(name, {})
    shutil.rmtree(tmp_path / "changed")
    several = {"problem_type": "multi_label_classification"}
    name = changed(kept, "classification", tmp_path, "config.json", **several)
    (Path(name) / "finetuning.json").unlink()
    with pytest.raises(UserError, match="gives several labels to one text"):
        open_predictor(name, {})


def test_lines_of_tsv_have_a_column_each_and_no_stray_tab() -> None:
    answers: list[Answer] = [
        {"label": "a\tb", "probabilities": {"a\tb": 0.75, "c": 0.25}, "words": ["x", "y"]},
        {"label": "c", "probabilities": {"a\tb": 0.25, "c": 0.75}, "words": None},
    ]
    assert list(answer_lines(answers, "tsv")) == [
        "label\tprobabilities.a\\tb\tprobabilities.c\twords",
        "a\\tb\t0.75\t0.25\tx y",
        "c\t0.25\t0.75\t",
    ]
    assert [json.loads(line) for line in answer_lines(answers, "jsonl")] == answers


def test_the_verb_writes_a_file_or_lines_or_one_result(kept: Kept, tmp_path: Path) -> None:
    path = unlabelled(tmp_path, "tokens")
    words = ("predict", kept["tokens"][0], "--input", path)
    shown = call(*words)
    assert (shown.exit_code, shown.stderr) == (0, "")
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [line["words"] for line in lines] == [row["text"].split() for row in ROWS["tokens"]]
    assert result_of(*words)["answers"] == lines
    result = result_of(*words, "--output", tmp_path / "out.tsv")
    assert (result["rows"], result["kind"], result["format"]) == (len(lines), "tokens", "tsv")
    table = (tmp_path / "out.tsv").read_text().splitlines()
    assert table[0] == "words\tlabels"
    assert table[1:] == [f"{' '.join(a['words'])}\t{' '.join(a['labels'])}" for a in lines]


def test_a_bad_row_is_one_message_and_nothing_is_written(kept: Kept, tmp_path: Path) -> None:
    model, path = kept["classification"][0], tmp_path / "rows.jsonl"
    words = ("predict", model, "--input", path)
    path.write_text('{"text": "sun"}\n{"text": 3}\n')
    assert mistake(*words, "--output", tmp_path / "out.tsv").endswith("rows.jsonl,line2:3isnotext")
    assert not (tmp_path / "out.tsv").exists()
    path.write_text('{"text": "sun"}\n{"words": "sun"}\n')
    assert "rows.jsonl,line2:no'text';itskeys:words" in mistake(*words)
    path.write_text("")
    assert "holdsnorow" in mistake(*words)
    path.write_text('{"text": ""}\n')
    assert "line1:therearenowords" in mistake("predict", kept["tokens"][0], "--input", path)
    (tmp_path / "bad.txt").write_bytes(b"sun\n\xff\n")
    assert "bad.txt,line2:byte0isnoUTF-8" in mistake(
        "predict", model, "--input", tmp_path / "bad.txt"
    )


def test_wrong_words_are_one_message(kept: Kept, model: str, tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("sun\n")
    words = ("predict", kept["classification"][0], "--input", tmp_path / "rows.txt")
    assert "accepted:jsonl,tsv" in mistake(*words, "--format", "csv")
    assert "rolesaretext,pair,group" in mistake(*words, "--columns", "label=a")
    assert "onlyamodelofthekindranking" in mistake(*words, "--columns", "group=a")
    assert "istheinput" in mistake(*words, "--output", tmp_path / "rows.txt")
    assert "column'pair'isneededtoo" in mistake(
        "predict", kept["ranking"][0], "--input", tmp_path / "rows.txt"
    )
    assert "readstextalone" in mistake(
        "predict", model, "--input", tmp_path / "rows.txt", "--columns", "pair=a"
    )
