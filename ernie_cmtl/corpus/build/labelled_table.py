"""A file or folder of labelled rows -> rows whose columns have a kind."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ernie_cmtl.corpus.build.word_tags import Kind, with_tagged_words
from ernie_cmtl.corpus.read.class_folders import LABEL, TEXT, folder_stamp
from ernie_cmtl.corpus.read.inputs import FileInput
from ernie_cmtl.corpus.read.labelled_rows import labelled_rows, row_place
from ernie_cmtl.corpus.read.tagged_words import WORDS
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Language

MOST_GUESSED_CLASSES = 500


class LabelledConfig(BaseModel):
    """A file or folder of labelled rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    """File of the table: `.tsv` or `.csv` with a header line, `.jsonl`, `.parquet`, tagged words
    (`.conll`, `.bio`, `.iob`, `.txt`), or a folder of class folders.
    """
    columns: dict[str, Kind] | None = None
    """Column -> text, class, number or tags; other columns are left out. none: use every column and
    guess its kind.
    """

    def stamp(self) -> tuple[int, ...]:
        """Return what tells whether the rows were changed."""
        path = Path(self.file).expanduser()
        return folder_stamp(path) if path.is_dir() else FileInput(path).stamp()


def read_table(
    config: LabelledConfig, language: Language
) -> tuple[list[dict[str, object]], dict[str, Kind]]:
    """Return the rows of a file or folder, texts as str and tags as tuples of `TaggedWord`, and the
    kind of each column that is stored.

    Raises:
        UserError: A column that is not there, a row with a wrong number of columns, tags that do
            not fit their words, no column of text, or several beside one of tags.
    """
    path = Path(config.file).expanduser()
    numbered = list(labelled_rows(path, list(config.columns) if config.columns else None))
    rows = [row for _, row in numbered]
    kinds = config.columns or _kinds_of(path, rows)
    texts = [name for name, kind in kinds.items() if kind == "text"]
    if not texts:
        shown = ", ".join(f"{name}: {kind}" for name, kind in kinds.items()) or "no row was read"
        raise UserError(
            f"{config.file} has no column of text ({shown}); say which with "
            "labelled.NAME.columns.COLUMN=text"
        )
    if "tags" in kinds.values() and len(texts) > 1:
        raise UserError(
            f"{config.file} has tags and the texts {', '.join(texts)}, and tags stand at the words "
            "of one text; name the columns to keep with labelled.NAME.columns.COLUMN=KIND"
        )
    return [
        with_tagged_words(row, kinds, language, row_place(path, number)) for number, row in numbered
    ], kinds


def _kinds_of(path: Path, rows: Sequence[dict[str, object]]) -> dict[str, Kind]:
    """Return the kind of each column: of lists one holds the words of a text, `words` or that with
    the most different ones, and the others tags; the rest is known by the format, or guessed.
    """
    if path.is_dir():
        return {TEXT: "text", LABEL: "class"}
    columns = {name: [row.get(name) for row in rows] for name in (rows[0] if rows else {})}
    different = {
        name: len({str(one) for value in values if isinstance(value, list) for one in value})
        for name, values in columns.items()
        if any(isinstance(value, list) for value in values)
    }
    words = WORDS if WORDS in different else max(different, key=different.__getitem__, default=None)
    return {
        name: _guess(values) if name not in different else "text" if name == words else "tags"
        for name, values in columns.items()
    }


def distinct_and_complete(
    rows: Sequence[dict[str, object]], kinds: Mapping[str, Kind]
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Return the rows that differ from one another, and those of them that lack no value."""
    distinct = list({repr([row.get(name) for name in kinds]): row for row in rows}.values())
    complete = [row for row in distinct if all(_is_there(row.get(name)) for name in kinds)]
    return distinct, complete


def _is_there(value: object) -> bool:
    """Tell whether a value is there; an empty text or class is none."""
    return value is not None and value == value and bool(str(value).strip())


def finite_number(value: object) -> float | None:
    """Return a value as a number; None where it is none, or not finite."""
    try:
        found = float(str(value))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def class_name(value: object) -> str:
    """Return a class's name: 1 and 1.0 are one class."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _guess(values: Sequence[object]) -> Kind:
    """Guess what a column holds: few distinct values are classes, other numbers are numbers, the
    rest is text.
    """
    found = [value for value in values if _is_there(value)]
    distinct = {class_name(value) for value in found}
    numbers = [finite_number(value) for value in distinct]
    if distinct and None not in numbers:
        whole = all(number == int(number) for number in numbers if number is not None)
        return "class" if whole and len(distinct) <= MOST_GUESSED_CLASSES else "number"
    return "class" if len(distinct) <= min(MOST_GUESSED_CLASSES, len(found) // 10) else "text"
