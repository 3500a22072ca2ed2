"""A file of labelled rows -> arrays beside the text."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from ernie_cmtl.atomic_files import file_hash, write_array, write_folder
from ernie_cmtl.corpus.build.digests import split_hash, text_digest
from ernie_cmtl.corpus.build.executor import Processes, annotate_texts, token_starts
from ernie_cmtl.corpus.build.held_out import HeldoutRule
from ernie_cmtl.corpus.build.word_tags import Kind, TaggedWord, tag_layer, with_tagged_words
from ernie_cmtl.corpus.read.class_folders import LABEL, TEXT, folder_stamp
from ernie_cmtl.corpus.read.inputs import FileInput
from ernie_cmtl.corpus.read.labelled_rows import labelled_rows, row_place
from ernie_cmtl.corpus.read.tagged_words import WORDS
from ernie_cmtl.corpus.store.manifest import LABELS, LabelledColumn, LabelledTable
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import AnnotatedText, Array, IntArray, Language

MOST_GUESSED_CLASSES = 500
_ROWS_AT_ONCE = 1000
Answer = TypeVar("Answer")


class LabelledConfig(BaseModel):
    """A file or folder of labelled rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    """`.tsv` or `.csv` with a header line, `.jsonl`, `.parquet`, words with their tags (`.conll`,
    `.bio`, `.iob`, `.txt`), or a folder of class folders.
    """
    columns: dict[str, Kind] | None = None
    """Column -> text, class, number or tags; columns that are not named are left out. None: every
    column, its kind guessed.
    """

    def stamp(self) -> tuple[int, ...]:
        """Return what tells whether the rows were changed."""
        path = Path(self.file).expanduser()
        return folder_stamp(path) if path.is_dir() else FileInput(path).stamp()


def add_labelled(
    folder: Path,
    config: LabelledConfig,
    rule: HeldoutRule,
    language: Language,
    token_type: npt.DTypeLike,
    workers: Processes,
) -> LabelledTable:
    """Store labelled rows in a folder, unless they stand there already, and return their record.

    rule: chooses what is held out, by the first text: rows that share it, as the candidates of a
    query, stay in one split.

    Raises:
        UserError: A column that is not there, a row with a wrong number of columns, a value that
            does not fit its column's kind, tags that do not fit their words.
    """
    rows, kinds = read_table(config, language)
    text_names = [name for name, kind in kinds.items() if kind == "text"]
    distinct, complete = distinct_and_complete(rows, kinds)
    texts = {
        name: _in_pieces([str(row[name]) for row in complete], annotate_texts, workers)
        for name in text_names
    }
    usable = [
        place
        for place in range(len(complete))
        if all(len(texts[name][place].token_ids) for name in text_names)
    ]
    if not usable:
        raise UserError(
            f"{config.file} holds no usable row: of {len(rows)}, {len(distinct)} are distinct, "
            "and each lacks a value"
        )
    digests = {place: text_digest(str(complete[place][text_names[0]])) for place in usable}
    for digest in dict.fromkeys(digests.values()):
        rule.add(digest)
    heldout = [place for place in usable if split_hash(digests[place]) < rule.below]
    order = [place for place in usable if split_hash(digests[place]) >= rule.below] + heldout
    arrays = _text_arrays(
        [[texts[name][place] for name in text_names] for place in order], token_type
    )
    ordered = [complete[place] for place in order]
    columns, labels = _label_arrays(ordered, kinds, config.file, workers)
    arrays |= labels
    if not folder.exists():
        write_folder(folder, lambda partial: _write(partial, arrays))
    return LabelledTable(
        columns=columns,
        rows={
            "read": len(rows),
            "used": len(order),
            "rejected": len(distinct) - len(order),
            "duplicates": len(rows) - len(distinct),
            "train": len(order) - len(heldout),
            "heldout": len(heldout),
        },
        hashes={name: file_hash(folder / f"{name}.npy") for name in sorted(arrays)},
    )


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


def _write(folder: Path, arrays: Mapping[str, Array]) -> None:
    for name, array in arrays.items():
        write_array(folder / f"{name}.npy", array)


def _is_there(value: object) -> bool:
    """Tell whether a value is there; an empty text or class is none."""
    return value is not None and value == value and bool(str(value).strip())


def _in_pieces(
    texts: Sequence[str], function: Callable[[list[str]], list[Answer]], workers: Processes
) -> list[Answer]:
    """Ask a question about texts, many at once, and return the answer for each."""
    remaining = iter(texts)
    pieces = iter(lambda: list(islice(remaining, _ROWS_AT_ONCE)), [])
    return [answer for answers in workers.map(function, pieces) for answer in answers]


def _text_arrays(
    rows: Sequence[Sequence[AnnotatedText]], token_type: npt.DTypeLike
) -> dict[str, Array]:
    """Return the arrays of the texts, row after row; each text counts as one sentence."""
    texts = [text for row in rows for text in row]
    found: dict[str, Array] = {
        "sentence_offsets": np.cumsum([0] + [len(text.token_ids) for text in texts]).astype(
            np.int64
        ),
        "document_offsets": np.cumsum([0] + [len(row) for row in rows]).astype(np.int64),
        "token_ids": np.concatenate([text.token_ids for text in texts]).astype(token_type),
    }
    for layer in texts[0].layers:
        found[layer] = np.concatenate([text.layers[layer] for text in texts])
    return found


def _label_arrays(
    rows: Sequence[dict[str, object]], kinds: Mapping[str, Kind], file: str, workers: Processes
) -> tuple[dict[str, LabelledColumn], dict[str, Array]]:
    """Return what the columns hold, and the arrays of those that are labels."""
    columns = {name: LabelledColumn(kind=kind) for name, kind in kinds.items()}
    arrays: dict[str, Array] = {}
    for number, (name, kind) in enumerate(kinds.items()):
        values = [row[name] for row in rows]
        if kind == "class":
            columns[name].classes, arrays[f"{LABELS}{number}"] = _classes(values)
        elif kind == "number":
            arrays[f"{LABELS}{number}"] = _numbers(values, name, file)
        elif kind == "tags":
            (text,) = (name for name, kind in kinds.items() if kind == "text")
            texts = [str(row[text]) for row in rows]
            columns[name].classes, arrays[f"{LABELS}{number}"] = _tags(values, texts, workers)
    return columns, arrays


def _tags(
    values: Sequence[object], texts: Sequence[str], workers: Processes
) -> tuple[list[str], npt.NDArray[np.int32]]:
    """Return the names of the tags, and the tag of each token of the texts; int32 [T]."""
    tagged: list[Sequence[TaggedWord]] = [v for v in values if isinstance(v, tuple)]
    classes, _ = _classes([word.tag for words in tagged for word in words])
    numbers = {name: number for number, name in enumerate(classes)}
    starts = _in_pieces(texts, token_starts, workers)
    layers = [tag_layer(words, numbers, at) for words, at in zip(tagged, starts, strict=True)]
    return classes, np.concatenate(layers)


def _classes(values: Sequence[object]) -> tuple[list[str], IntArray]:
    """Return the names of the classes, numbers in their order, and the class of each value."""
    names = [_class_name(value) for value in values]
    classes = sorted(
        set(names), key=lambda name: (_number(name) is None, _number(name) or 0.0, name)
    )
    place = {name: number for number, name in enumerate(classes)}
    return classes, np.array([place[name] for name in names], dtype=np.int64)


def _numbers(values: Sequence[object], column: str, file: str) -> npt.NDArray[np.float64]:
    numbers = [_number(value) for value in values]
    if None in numbers:
        raise UserError(
            f"{file}: column {column!r} is to hold numbers; {values[numbers.index(None)]!r} is none"
        )
    return np.array(numbers, dtype=np.float64)


def _number(value: object) -> float | None:
    try:
        found = float(str(value))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _class_name(value: object) -> str:
    """Return a class's name: 1 and 1.0 are one class."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _guess(values: Sequence[object]) -> Kind:
    """Guess what a column holds: few distinct values are classes, other numbers are numbers, the
    rest is text.
    """
    found = [value for value in values if _is_there(value)]
    distinct = {_class_name(value) for value in found}
    numbers = [_number(value) for value in distinct]
    if distinct and None not in numbers:
        whole = all(number == int(number) for number in numbers if number is not None)
        return "class" if whole and len(distinct) <= MOST_GUESSED_CLASSES else "number"
    return "class" if len(distinct) <= min(MOST_GUESSED_CLASSES, len(found) // 10) else "text"
