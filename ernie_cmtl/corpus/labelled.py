"""Labelled rows beside the text: pairs, classes, scores, query logs, tokenized and annotated like the text."""

from pathlib import Path

import numpy as np

from ernie_cmtl.corpus.files import read_array
from ernie_cmtl.corpus.manifest import LabelledTable, Split
from ernie_cmtl.corpus.text import LabelledSplit
from ernie_cmtl.records import Array

LABELS = "labels-"
"""Beginning of the name of a file of labels; the number of the column follows, whose name may be anything."""


def open_rows(folder: Path, table: LabelledTable, split: Split) -> LabelledSplit:
    """Open a split of a labelled table; the training rows stand first in its files."""
    rows = table.rows["train"] if split == "train" else table.rows["heldout"]
    first = 0 if split == "train" else table.rows["train"]
    texts = [name for name, column in table.columns.items() if column.kind == "text"]
    arrays: dict[str, Array] = {name: read_array(folder / file) for file in table.hashes if (name := file.removesuffix(".npy"))}
    offsets = np.asarray(arrays.pop("sentence_offsets")[first * len(texts) : (first + rows) * len(texts) + 1])
    tokens = slice(int(offsets[0]), int(offsets[-1]))
    labels = {
        name: np.asarray(arrays.pop(f"{LABELS}{number}")[first : first + rows])
        for number, (name, column) in enumerate(table.columns.items())
        if column.kind != "text"
    }
    return LabelledSplit(
        tokens=tokens.stop - tokens.start,
        document_offsets=np.arange(rows + 1) * len(texts),
        sentence_offsets=offsets - offsets[0],
        shard_starts=np.zeros(1, dtype=np.int64),
        shard_documents=np.zeros(1, dtype=np.int64),
        shard_sources=[folder.name],
        arrays=[{name: array[tokens] for name, array in arrays.items()}],
        labels=labels,
        texts=texts,
        classes={name: column.classes for name, column in table.columns.items() if column.kind == "class"},
    )
