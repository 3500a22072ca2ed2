"""A file of labelled rows -> arrays beside the text."""

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from ernie_cmtl.atomic_files import file_hash, write_array, write_folder
from ernie_cmtl.corpus.build.digests import split_hash, text_digest
from ernie_cmtl.corpus.build.executor import Processes, annotate_texts
from ernie_cmtl.corpus.build.held_out import HeldoutRule
from ernie_cmtl.corpus.read.tables import read_rows
from ernie_cmtl.corpus.store.manifest import LABELS, LabelledColumn, LabelledTable
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import AnnotatedText, Array, IntArray

MOST_GUESSED_CLASSES = 500
_ROWS_AT_ONCE = 1000
Kind = Literal["text", "class", "number"]


class LabelledConfig(BaseModel):
    """A file of labelled rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    """`.tsv` or `.csv` with a header line, `.jsonl` or `.parquet`."""
    columns: dict[str, Kind] | None = None
    """Column -> text, class or number; columns that are not named are left out. None: every column,
    its kind guessed.
    """


def add_labelled(
    folder: Path,
    config: LabelledConfig,
    rule: HeldoutRule,
    token_type: npt.DTypeLike,
    workers: Processes,
) -> LabelledTable:
    """Store a file of labelled rows in a folder, unless it stands there already, and return its
    record.

    rule: chooses what is held out, by the first text: rows that share it, as the candidates of a
    query, stay in one split.

    Raises:
        UserError: A column that is not there, a row with a wrong number of columns, a value that
            does not fit its column's kind.
    """
    rows, kinds = read_table(config)
    text_names = [name for name, kind in kinds.items() if kind == "text"]
    distinct, complete = distinct_and_complete(rows, kinds)
    texts = {name: _annotated([str(row[name]) for row in complete], workers) for name in text_names}
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
    columns, labels = _label_arrays([complete[place] for place in order], kinds, config.file)
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


def read_table(config: LabelledConfig) -> tuple[list[dict[str, object]], dict[str, Kind]]:
    """Return the rows of a file and the kind of each column that is stored.

    Raises:
        UserError: A column that is not there, a row with a wrong number of columns, or no column of
            text.
    """
    rows = [
        row
        for _, row in read_rows(Path(config.file), list(config.columns) if config.columns else None)
    ]
    kinds = config.columns or {
        name: _guess([row.get(name) for row in rows]) for name in (rows[0] if rows else {})
    }
    if "text" not in kinds.values():
        shown = ", ".join(f"{name}: {kind}" for name, kind in kinds.items()) or "no row was read"
        raise UserError(
            f"{config.file} has no column of text ({shown}); say which with "
            "labelled.NAME.columns.COLUMN=text"
        )
    return rows, kinds


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


def _annotated(texts: list[str], workers: Processes) -> list[AnnotatedText]:
    remaining = iter(texts)
    pieces = iter(lambda: list(islice(remaining, _ROWS_AT_ONCE)), [])
    return [text for answers in workers.map(annotate_texts, pieces) for text in answers]


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
    rows: Sequence[dict[str, object]], kinds: Mapping[str, Kind], file: str
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
    return columns, arrays


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
