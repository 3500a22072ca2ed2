"""Labelled rows -> arrays beside the text."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ernie_cmtl.atomic_files import file_hash, write_array, write_folder
from ernie_cmtl.corpus.build.digests import split_hash, text_digest
from ernie_cmtl.corpus.build.executor import Processes, annotate_texts, token_starts
from ernie_cmtl.corpus.build.held_out import HeldoutRule
from ernie_cmtl.corpus.build.labelled_table import (
    LabelledConfig,
    class_name,
    distinct_and_complete,
    finite_number,
    read_table,
)
from ernie_cmtl.corpus.build.word_tags import Kind, TaggedWord, tag_layer
from ernie_cmtl.corpus.store.manifest import LABELS, LabelledColumn, LabelledTable
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import AnnotatedText, Array, IntArray, Language

_ROWS_AT_ONCE = 1000
Answer = TypeVar("Answer")


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
    columns, arrays = _label_arrays([complete[p] for p in order], kinds, config.file, workers)
    arrays |= _text_arrays([[texts[name][p] for name in text_names] for p in order], token_type)
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


def _write(folder: Path, arrays: Mapping[str, Array]) -> None:
    for name, array in arrays.items():
        write_array(folder / f"{name}.npy", array)


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
    names = [class_name(value) for value in values]
    classes = sorted(
        set(names), key=lambda name: (finite_number(name) is None, finite_number(name) or 0.0, name)
    )
    place = {name: number for number, name in enumerate(classes)}
    return classes, np.array([place[name] for name in names], dtype=np.int64)


def _numbers(values: Sequence[object], column: str, file: str) -> npt.NDArray[np.float64]:
    numbers = [finite_number(value) for value in values]
    if None in numbers:
        raise UserError(
            f"{file}: column {column!r} is to hold numbers; {values[numbers.index(None)]!r} is none"
        )
    return np.array(numbers, dtype=np.float64)
