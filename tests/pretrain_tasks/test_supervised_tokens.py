"""Tagged words as a pretraining task."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ernie_cmtl.config import TaskConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.errors import UserError
from ernie_cmtl.run.instances import make_instance
from tests.support.command_line import RUN, mistake, result_of
from tests.support.labelled_rows import TAGGED

TASK = {"type": "supervised_tokens", "table": "chunks"}


def open_stream(corpus: Corpus, length: int = 64, **changes: Any) -> SampleStream:
    instance = make_instance("chunks", 0, TaskConfig.model_validate(TASK | changes), corpus)
    return SampleStream(instance, corpus.text("train", "chunks"), length, seed=1)


@pytest.mark.parametrize("masked", [False, True])
def test_every_row_is_an_example_with_the_tags_of_its_words(tables: Corpus, masked: bool) -> None:
    stream = open_stream(tables, masked_tokens=masked, masking={"units": "token"})
    tokenizer = tables.tokenizer
    expected = {
        tuple(tokenizer(" ".join(words), add_special_tokens=False)["input_ids"]): tags
        for words, tags in TAGGED
    }
    (spec,) = (spec for spec in stream.instance.specs if spec.kind == "token_class")
    assert (spec.name, spec.class_names) == ("tag", ("B-LOC", "B-PER", "O"))
    examples = [stream.example(number) for number in range(len(stream))]
    assert len(examples) == tables.manifest.labelled["chunks"].rows["train"]
    for number, example in enumerate(examples):
        assert example is not None
        tokens = example.token_ids.copy()
        if masked:
            hidden = example.targets["masked_token"]
            tokens[hidden.positions] = hidden.labels
        found = example.targets["tag"]
        assert found.labels.dtype == np.int64
        names = [spec.class_names[label] for label in found.labels]
        assert names == expected[tuple(tokens[1:-1].tolist())]
        # Labels stand at the first pieces, and nowhere else.
        begins = [not t.startswith("##") for t in tokenizer.convert_ids_to_tokens(tokens[1:-1])]
        assert found.positions.tolist() == (np.flatnonzero(begins) + 1).tolist()
        assert len(example.token_ids) <= stream.slot(number)


def test_rows_that_are_longer_than_a_row_of_the_batch_are_left_out(tables: Corpus) -> None:
    whole = open_stream(tables)
    lengths = sorted(
        len(example.token_ids) for n in range(len(whole)) if (example := whole.example(n))
    )
    assert lengths[0] < lengths[-1]
    fewer = open_stream(tables, length=lengths[-1] - 1)
    assert len(fewer) == sum(length < lengths[-1] for length in lengths)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"table": "questions"},
            r"'questions' has no column of tags 'tags' \(label=COLUMN\); its columns of tags are: "
            "none; all its columns: question, label",
        ),
        ({"label": "tag"}, "did you mean 'tags'.*all its columns: words, tags"),
        ({"table": "chunk"}, "asks for table 'chunk'; the corpus has: .*chunks"),
    ],
)
def test_a_table_without_the_tags_is_refused_by_name(
    tables: Corpus, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        open_stream(tables, **changes)


def test_a_table_must_be_named(judged: Corpus) -> None:
    instance = make_instance("supervised_tokens", 0, TaskConfig(), judged)
    with pytest.raises(UserError, match="name it with table: NAME"):
        instance.task.index(judged.split("train"), 64)


def test_each_verb_works_with_tagged_words(tables: Corpus, tmp_path: Path) -> None:
    run = RUN | {
        "corpus": str(tables.folder),
        "run": str(tmp_path / "run"),
        "stages": [{"name": "only", "budgets": {"chunks": 3}}],
        "tasks": {"chunks": TASK},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    assert result_of("plan", tmp_path / "run.yaml")["totals"] == {"chunks": 3}
    result_of("pretrain", tmp_path / "run.yaml")
    score = result_of("evaluate", tmp_path / "run")["heldout"]["chunks/tag"]
    tags = [tag for _, tags in TAGGED for tag in tags]
    assert score["majority"] == pytest.approx(tags.count("O") / len(tags), abs=0.01)
    assert 0 <= score["accuracy"] <= 1
    table = ["table=chunks", "--corpus", tables.folder]
    (shown,) = result_of("inspect", "supervised_tokens", *table, "--samples", "1")
    assert {name for _, name in shown["targets"]["tag"]} == {"B-PER", "B-LOC", "O"}
    checked = result_of("tasks", "check", "supervised_tokens", *table, "--samples", "40")
    assert all(rule["passed"] for rule in checked["contract"])
    exported = result_of("export", tmp_path / "run", "--output", tmp_path / "model")
    assert exported["max_abs_hidden_state_difference"] < 1e-4


def test_tags_that_do_not_fit_their_words_are_a_mistake_with_one_message(tmp_path: Path) -> None:
    rows = [{"words": ["a", "b"], "tags": ["O", "O"]}] * 2 + [{"words": ["a", "b"], "tags": ["O"]}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    message = mistake(
        *("prepare", "--output", tmp_path / "corpus", "--language", "en"),
        *("--labelled", f"own={tmp_path / 'rows.jsonl'}"),
        *("labelled.own.columns.words=text", "labelled.own.columns.tags=tags"),
    )
    assert "rows.jsonl,line3:2wordsin'words'and1tagsin'tags'" in message
