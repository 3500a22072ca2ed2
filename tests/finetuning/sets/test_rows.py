"""Rows are read as they stand, and each mistake is one message with its place."""

import json
from pathlib import Path
from typing import Any

import pytest

from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.sets.recipe import ColumnsConfig, RowsConfig
from ernie_cmtl.finetuning.sets.rows import LabelledRow, read_splits
from tests.support.finetuning import WriteRows

COLUMNS = ColumnsConfig(text="text", label="label")


def read(
    folder: Path, columns: ColumnsConfig = COLUMNS, **data: Any
) -> dict[str, list[LabelledRow]]:
    return read_splits(
        RowsConfig.model_validate({"train": "train.tsv", "dev": "train.tsv"} | data),
        columns,
        folder,
    )


def test_quotes_of_a_tsv_are_text(write: WriteRows) -> None:
    folder = write("train.tsv", ["label\ttext", '1\t"Never', '0\tsaid "he"'])
    assert [row.text for row in read(folder)["train"]] == ['"Never', 'said "he"']


def test_uneven_columns_are_named_with_their_line(write: WriteRows) -> None:
    folder = write("train.tsv", ["label\ttext", "1\tgood", "0\tbad\tmore"])
    with pytest.raises(UserError, match=r"train\.tsv, line 3: 3 fields, the header has 2"):
        read(folder)


def test_a_column_that_is_not_there_is_named_with_those_that_are(write: WriteRows) -> None:
    folder = write("train.tsv", ["score\ttext", "1\tgood"])
    with pytest.raises(
        UserError, match=r"train\.tsv has no column 'label'; its columns: score, text"
    ):
        read(folder)


@pytest.mark.parametrize("lines", [[], ["label\ttext"]])
def test_an_empty_file_is_named(write: WriteRows, lines: list[str]) -> None:
    folder = write("train.tsv", lines)
    with pytest.raises(UserError, match=r"train\.tsv holds no row"):
        read(folder)


def test_a_missing_value_is_named_with_its_line(write: WriteRows) -> None:
    folder = write("train.jsonl", [{"text": "good", "label": 1}, {"text": None, "label": 1}])
    with pytest.raises(UserError, match=r"train\.jsonl, line 2: there is no value for 'text'"):
        read(folder, train="train.jsonl", dev="train.jsonl")


def test_several_files_are_one_split(write: WriteRows) -> None:
    write("a.tsv", ["label\ttext", "1\tgood"])
    folder = write("b.jsonl", [{"text": "bad", "label": 0}])
    assert [row.text for row in read(folder, train=["a.tsv", "b.jsonl"], dev="a.tsv")["train"]] == [
        "good",
        "bad",
    ]


def test_parts_are_cut_off_by_groups_whatever_the_order(write: WriteRows) -> None:
    lines = [f"{n % 2}\tquestion {n // 3}" for n in range(60)]
    splits = read(write("train.tsv", ["label\ttext", *lines]), dev=0.1, test=0.25)
    texts = {name: {row.text for row in rows} for name, rows in splits.items()}
    assert {name: len(found) for name, found in texts.items()} == {"train": 13, "dev": 2, "test": 5}
    assert (
        not texts["train"] & texts["dev"]
        | texts["train"] & texts["test"]
        | texts["dev"] & texts["test"]
    )
    assert sum(len(rows) for rows in splits.values()) == 60
    turned = read(write("train.tsv", ["label\ttext", *reversed(lines)]), dev=0.1, test=0.25)
    assert {name: {row.text for row in rows} for name, rows in turned.items()} == texts


def test_one_group_cannot_be_cut(write: WriteRows) -> None:
    folder = write("train.tsv", ["label\ttext", "1\tgood", "0\tgood"])
    with pytest.raises(UserError, match="too few groups"):
        read(folder, dev=0.5)


def test_the_nested_layout_of_squad_gives_a_row_a_question(tmp_path: Path) -> None:
    questions = [
        {"id": name, "question": f"{name}?", "answers": [{"text": "sun", "answer_start": 4}]}
        for name in "ab"
    ]
    articles = [{"title": "Sky", "paragraphs": [{"context": "the sun", "qas": questions}]}]
    (tmp_path / "squad.json").write_text(json.dumps({"data": articles}))
    columns = ColumnsConfig(text="question", text_pair="context", label="answers", group="title")
    rows = read(tmp_path, columns, train="squad.json", dev="squad.json")["train"]
    assert [(row.text, row.text_pair, row.group) for row in rows] == [
        ("a?", "the sun", "Sky"),
        ("b?", "the sun", "Sky"),
    ]
    assert rows[1].place.endswith("squad.json, question b")
    (tmp_path / "squad.json").write_text('{"data": [{"paragraphs": 3}]}')
    with pytest.raises(UserError, match="is no file of SQuAD"):
        read(tmp_path, columns, train="squad.json", dev="squad.json")


def test_what_the_datasets_package_opens_is_a_source_too(write: WriteRows) -> None:
    folder = write(
        "rows.jsonl",
        [{"text": "good", "label": 1, "other": 2}, {"text": "bad", "label": 0, "other": 2}],
    )
    source = f"datasets:json,data_files={folder / 'rows.jsonl'}"
    rows = read(folder, train=source, dev=source)["dev"]
    assert [(row.text, row.label) for row in rows] == [("good", 1), ("bad", 0)]
    assert rows[1].place == f"{source}, row 2"
