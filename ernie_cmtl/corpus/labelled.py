"""Labelled rows beside the text: pairs, classes, scores, query logs, tokenized and annotated like the text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ernie_cmtl.corpus.files import read_array
from ernie_cmtl.corpus.manifest import LabelledTable, Split
from ernie_cmtl.records import AnnotatedText, Array, IntArray


@dataclass(frozen=True)
class TextColumn:
    """One text of each row."""

    token_ids: Array
    offsets: IntArray
    """Row r is tokens offsets[r]:offsets[r+1]; int64 [rows + 1]."""
    layers: Mapping[str, Array]

    def text(self, row: int) -> AnnotatedText:
        """Return the text of a row, as one sentence."""
        start, stop = int(self.offsets[row]), int(self.offsets[row + 1])
        layers = {name: np.asarray(layer[start:stop]) for name, layer in self.layers.items()}
        return AnnotatedText(self.token_ids[start:stop].astype(np.int64), np.array([0, stop - start]), layers)


@dataclass(frozen=True)
class LabelledRows:
    """The rows of one split of a labelled table."""

    rows: int
    texts: Mapping[str, TextColumn]
    labels: Mapping[str, Array]
    """Column -> int64 [rows] classes or float64 [rows] numbers."""
    classes: Mapping[str, Sequence[str]]
    """Class column -> names of its classes."""


def open_rows(folder: Path, table: LabelledTable, split: Split) -> LabelledRows:
    """Open a split of a labelled table; the training rows stand first in its files."""
    first, last = (0, table.rows["train"]) if split == "train" else (table.rows["train"], table.rows["used"])
    texts: dict[str, TextColumn] = {}
    labels: dict[str, Array] = {}
    for number, (name, column) in enumerate(table.columns.items()):
        if column.kind == "text":
            offsets = np.asarray(read_array(folder / f"{number}.offsets.npy")[first : last + 1])
            span = slice(int(offsets[0]), int(offsets[-1]))
            parts = [file.split(".")[1] for file in table.hashes if file.startswith(f"{number}.") and file.count(".") == 2]
            opened = {part: read_array(folder / f"{number}.{part}.npy")[span] for part in parts if part != "offsets"}
            texts[name] = TextColumn(opened.pop("token_ids"), offsets - offsets[0], opened)
        else:
            labels[name] = np.asarray(read_array(folder / f"{number}.npy")[first:last])
    classes = {name: column.classes for name, column in table.columns.items() if column.kind == "class"}
    return LabelledRows(last - first, texts, labels, classes)
