"""What `--labelled` names -> rows: a table, a file of tagged words, a folder of class folders."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ernie_cmtl.corpus.read.class_folders import folder_rows
from ernie_cmtl.corpus.read.compression import has_ending
from ernie_cmtl.corpus.read.rows import Row
from ernie_cmtl.corpus.read.tables import TABLES, read_rows
from ernie_cmtl.corpus.read.tagged_words import TAGGED, tagged_rows
from ernie_cmtl.errors import UserError


def labelled_rows(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    """Yield the rows of a file or folder, each with its number and its values by column; None for
    columns means all of them.

    Raises:
        UnknownColumnError: A column is missing.
        UserError: The ending is unknown, or what is there cannot be read.
    """
    if path.is_dir():
        yield from folder_rows(path, columns)
    elif has_ending(path, TAGGED):
        yield from tagged_rows(path, columns)
    elif has_ending(path, TABLES):
        yield from read_rows(path, columns)
    else:
        raise UserError(
            f"cannot read {path} as labelled rows: its ending is none of "
            f"{', '.join((*TABLES, *TAGGED))}, and it is no folder of class folders"
        )


def row_place(path: Path, number: int) -> str:
    """Return how a message names a row."""
    kind = "row" if path.is_dir() or has_ending(path, ".parquet") else "line"
    return f"{path}, {kind} {number}"
