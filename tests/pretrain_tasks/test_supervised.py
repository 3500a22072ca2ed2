"""Rows that people labelled, as pretraining tasks of the same registry: class, number, best
candidate.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ernie_cmtl.config import RunConfig, TaskConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.tokens.tokenizer import raw_text_tokenizer
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Example
from ernie_cmtl.run.instances import make_instance
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.labelled_rows import COLUMNS, rows_of
from tests.support.runs import Watcher, tiny_settings

OPTIONS: dict[str, dict[str, Any]] = {
    "cola": {"type": "supervised", "table": "cola"},
    "mrpc": {"type": "supervised", "table": "mrpc"},
    "stsb": {"type": "supervised", "table": "stsb", "label": "score"},
    "selqa": {"type": "supervised_ranking", "table": "selqa", "label": "label", "candidates": 3},
}


def open_stream(corpus: Corpus, name: str, length: int = 64, **changes: Any) -> SampleStream:
    instance = make_instance(name, 0, TaskConfig.model_validate(OPTIONS[name] | changes), corpus)
    return SampleStream(instance, corpus.text("train", instance.task.options.table), length, seed=1)


def segments(tokens: np.ndarray, types: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """The texts of one sequence, without special tokens."""
    return tuple(
        tuple(tokens[types == number].tolist()[number == 0 : -1])
        for number in range(types.max() + 1)
    )


def made(stream: SampleStream) -> list[Example]:
    examples = [
        example for number in range(len(stream)) if (example := stream.example(number)) is not None
    ]
    assert len(examples) == len(stream)
    return examples


@pytest.mark.parametrize(
    ("name", "label"), [("cola", "label"), ("mrpc", "label"), ("stsb", "score")]
)
def test_every_row_is_an_example_with_its_own_label(judged: Corpus, name: str, label: str) -> None:
    stream = open_stream(judged, name)
    tokenizer = raw_text_tokenizer(judged.folder / "tokenizer")
    texts = [column for column, kind in COLUMNS[name].items() if kind == "text"]
    expected = {
        tuple(
            tuple(tokenizer.encode(row[text], add_special_tokens=False).ids) for text in texts
        ): float(row[label])
        for row in rows_of(name)
    }
    found = {
        segments(e.token_ids, e.token_type_ids): float(e.targets["label"].labels[0])
        for e in made(stream)
    }
    assert len(found) == judged.manifest.labelled[name].rows["train"] >= 0.7 * len(expected)
    assert found == {key: expected[key] for key in found}


def test_the_head_follows_from_the_column(judged: Corpus) -> None:
    (pair,), (score,), (ranking,) = (
        open_stream(judged, name).instance.specs for name in ("mrpc", "stsb", "selqa")
    )
    assert (pair.kind, pair.class_names) == ("sequence_class", ("0", "1"))
    assert (score.kind, score.classes) == ("sequence_regression", 1)
    assert (ranking.kind, ranking.classes) == ("choice", 3)


def test_the_best_candidate_is_the_one_with_the_highest_grade_and_all_have_one_query(
    judged: Corpus,
) -> None:
    stream = open_stream(judged, "selqa")
    tokenizer = raw_text_tokenizer(judged.folder / "tokenizer")
    grades = {
        tuple(
            tuple(tokenizer.encode(row[text], add_special_tokens=False).ids)
            for text in ("question", "sentence")
        ): row["label"]
        for row in rows_of("selqa")
    }
    places = set()
    for number, example in enumerate(made(stream)):
        ends = np.cumsum(example.sequence_lengths)
        pairs = [
            segments(example.token_ids[end - size : end], example.token_type_ids[end - size : end])
            for end, size in zip(ends, example.sequence_lengths, strict=True)
        ]
        assert len({query for query, _ in pairs}) == 1
        assert len(set(pairs)) == 3
        best = int(example.targets["best"].labels[0])
        places.add(best)
        assert all(grades[pair] < grades[pairs[best]] for pair in pairs if pair != pairs[best])
        assert example.targets["best"].positions[0].tolist() == [0, *ends[:-1]]
        assert len(example.token_ids) <= stream.slot(number) <= 64
    # Of six candidates two have grade 2, with four below, and two have grade 1, with two below.
    assert len(stream) == judged.manifest.labelled["selqa"].rows["train"] * 4 // 6
    assert places == {0, 1, 2}


def test_candidates_and_queries_are_cut_to_their_limits(judged: Corpus) -> None:
    for example in made(open_stream(judged, "selqa", query_tokens=2, candidate_tokens=3))[:20]:
        assert example.sequence_lengths == (8, 8, 8)


def test_only_near_rows_are_candidates(judged: Corpus) -> None:
    # Of grades 0 1 2 0 1 2, one has two lower ones right beside it, and three have two within two
    # rows.
    assert (
        len(open_stream(judged, "selqa", reach=2))
        == 3 * len(open_stream(judged, "selqa", reach=1))
        > 0
    )


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "cola",
            {"label": "score"},
            "table 'cola' has no class or number column 'score'; there are: label",
        ),
        (
            "selqa",
            {"label": "rank"},
            "table 'selqa' has no column 'rank' of grades; there are: label",
        ),
        ("selqa", {"table": "cola"}, "table 'cola' has texts sentence; this task takes two"),
        ("mrpc", {"table": "nothing"}, "asks for table 'nothing'; the corpus has: cola"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    judged: Corpus, name: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        open_stream(judged, name, **changes)


@pytest.mark.parametrize("kind", ["supervised", "supervised_ranking"])
def test_rows_must_be_named(judged: Corpus, kind: str) -> None:
    instance = make_instance(kind, 0, TaskConfig(), judged)
    with pytest.raises(UserError, match="name it with table: NAME"):
        instance.task.index(judged.split("train"), 64)


def test_a_stage_trains_the_four_outputs_together_with_masking(
    judged: Corpus, tmp_path: Path
) -> None:
    settings = tiny_settings(judged, tmp_path / "run") | {"tasks": OPTIONS}
    together = dict.fromkeys(("knowledge_masking", *OPTIONS), 4)
    settings["stages"] = [
        {"name": "words", "budgets": {"knowledge_masking": 2}},
        {"name": "supervised", "budgets": together},
    ]
    result = pretrain(RunConfig.model_validate(settings), Watcher())
    assert result["finished"]
    assert all(result["samples"][name] > 0 for name in OPTIONS)
    scores = {
        name: score
        for name, score in result["heldout"].items()
        if name.partition("/")[0] in OPTIONS
    }
    assert set(scores) == {"cola/label", "mrpc/label", "stsb/label", "selqa/best"}
    assert all(score["labels"] > 0 and np.isfinite(score["loss"]) for score in scores.values())
