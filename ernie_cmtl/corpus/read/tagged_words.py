"""Files of tagged words, such as CoNLL's -> rows: a word and its tags a line, a blank line between
sentences.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ernie_cmtl.corpus.read.compression import COMPRESSIONS, DamagedFileError
from ernie_cmtl.corpus.read.encoding_detection import encoding_hint
from ernie_cmtl.corpus.read.encodings import UTF8, open_text
from ernie_cmtl.corpus.read.rows import Row, choose_columns
from ernie_cmtl.corpus.read.tables import MAXIMUM_LINE_BYTES
from ernie_cmtl.errors import UserError

WORDS, TAGS = "words", "tags"
TAGGED = tuple(
    f"{kind}{packed}" for kind in (".conll", ".bio", ".iob", ".txt") for packed in COMPRESSIONS
)
"""Endings of files of tagged words."""
_DOCUMENT_BORDER = "-DOCSTART-"


def column_names(count: int) -> list[str]:
    """Return how the columns of a file without a header are called: `words`, `column2` and so on,
    `tags` for the last.
    """
    return [WORDS, *(f"column{number}" for number in range(2, count)), TAGS]


def tagged_rows(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    """Yield the sentences of a file, each with the number of its first line and a list of str for
    each column; None for columns means all of them.

    Tabs part the columns where the first line has one, white space elsewhere. A sentence that
    begins with `-DOCSTART-` is a border between documents and none.

    Raises:
        UnknownColumnError: A column is missing.
        UserError: A line has other columns than the first one, or one alone, or is no UTF-8, or the
            file is damaged or not there.
    """
    names: list[str] = []
    sentence: list[tuple[int, list[str]]] = []
    for number, fields in _lines(path):
        if fields and not names:
            if len(fields) == 1:
                raise UserError(
                    f"{path}, line {number}: {fields[0]!r} is one column; a line holds a word and "
                    "its tags, parted by tabs or spaces"
                )
            names = column_names(len(fields))
            choose_columns(columns or names, (), names, path)
        if fields and len(fields) != len(names):
            raise UserError(
                f"{path}, line {number}: {len(fields)} columns, the first line has {len(names)}"
            )
        if "" in fields:
            raise UserError(f"{path}, line {number}: column {fields.index('') + 1} is empty")
        if fields:
            sentence.append((number, fields))
        elif sentence:
            yield from _row(sentence, names, columns)
            sentence = []
    if sentence:
        yield from _row(sentence, names, columns)


def _row(
    sentence: Sequence[tuple[int, list[str]]], names: Sequence[str], columns: Sequence[str] | None
) -> Iterator[Row]:
    if sentence[0][1][0] == _DOCUMENT_BORDER:
        return
    yield (
        sentence[0][0],
        {name: [fields[names.index(name)] for _, fields in sentence] for name in columns or names},
    )


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the columns of each line; a blank one has none."""
    # Not at any white space of Unicode: a word may hold one.
    separator = ""
    try:
        with open_text(path, UTF8) as stream:
            number = 0
            while line := stream.readline(MAXIMUM_LINE_BYTES + 1):
                number += 1
                if len(line) > MAXIMUM_LINE_BYTES:
                    raise UserError(f"{path}, line {number}: more than {MAXIMUM_LINE_BYTES} bytes")
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n ")
                if not text.strip():
                    yield number, []
                    continue
                separator = separator or ("\t" if "\t" in text else " +")
                yield number, re.split(separator, text)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, line {number}: byte {error.start} of the line is no UTF-8"
            f"{encoding_hint(path)}"
        ) from error
    except DamagedFileError as error:
        raise UserError(f"{path} is damaged; {error}") from error
