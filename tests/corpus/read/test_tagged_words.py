"""Files of tagged words, such as those of CoNLL."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from ernie_cmtl.corpus.read.labelled_rows import labelled_rows
from ernie_cmtl.errors import UserError


def read(folder: Path, content: str | bytes, name: str = "tagged.conll", **more: Any) -> Any:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(labelled_rows(path, more.get("columns")))


def test_a_sentence_is_a_row_and_begins_at_its_first_line(tmp_path: Path) -> None:
    assert read(tmp_path, "\nRiga B-LOC\nsleeps O\n\n \nYes O\n") == [
        (2, {"words": ["Riga", "sleeps"], "tags": ["B-LOC", "O"]}),
        (6, {"words": ["Yes"], "tags": ["O"]}),
    ]


def test_columns_between_are_numbered_and_can_be_chosen(tmp_path: Path) -> None:
    content = "-DOCSTART- -X- -X- O\n\nRiga NNP B-NP B-LOC\nsleeps VBZ B-VP O\n"
    ((number, row),) = read(tmp_path, content, "eng.train.txt")
    assert number == 3
    assert list(row) == ["words", "column2", "column3", "tags"]
    assert row["column3"] == ["B-NP", "B-VP"]
    ((_, chosen),) = read(tmp_path, content, columns=["words", "column2"])
    assert chosen == {"words": ["Riga", "sleeps"], "column2": ["NNP", "VBZ"]}


def test_tabs_part_columns_so_that_words_may_hold_spaces(tmp_path: Path) -> None:
    content = "\ufeffNew York\tB-LOC\r\n\t\r\nno\u00a0break\tO\r\n"
    assert [row for _, row in read(tmp_path, content, "words.bio")] == [
        {"words": ["New York"], "tags": ["B-LOC"]},
        {"words": ["no\u00a0break"], "tags": ["O"]},
    ]
    packed = gzip.compress(b"a  b\n")
    assert read(tmp_path, packed, "words.iob.gz") == [(1, {"words": ["a"], "tags": ["b"]})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"Riga\n", r"line 1: 'Riga' is one column; a line holds a word and its tags"),
        (b"Riga B-LOC\nsleeps\n", r"line 2: 1 columns, the first line has 2"),
        (b"Riga B-LOC\n\nsoundly sleeps O\n", r"line 3: 3 columns, the first line has 2"),
        (b"Riga\tB-LOC\nsleeps\t\n", r"line 2: column 2 is empty"),
        (b"Riga B-LOC\n\nM\xfcnchen O\n", r"line 3: byte 1 of the line is no UTF-8"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, content)


def test_a_column_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no column 'ner'; its columns: words, tags"):
        read(tmp_path, "Riga B-LOC\n", columns=["words", "ner"])
