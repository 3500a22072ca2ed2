"""Labelled rows beside the text: pairs, classes, scores, query logs, tokenized and annotated like
the text.
"""

from pathlib import Path

import numpy as np

from ernie_cmtl.atomic_files import read_array
from ernie_cmtl.corpus.store.manifest import LABELS, STRUCTURE, LabelledTable, Split
from ernie_cmtl.corpus.store.text_split import TextSplit
from ernie_cmtl.records import TableProfile


def table_profile(table: LabelledTable) -> TableProfile:
    """Return what tasks need to know of a table."""
    of = {
        kind: [name for name, column in table.columns.items() if column.kind == kind]
        for kind in ("text", "class", "number", "tags")
    }
    classes, tags = (
        {name: tuple(table.columns[name].classes) for name in of[kind]}
        for kind in ("class", "tags")
    )
    layers = [
        name for name in table.hashes if name not in STRUCTURE and not name.startswith(LABELS)
    ]
    return TableProfile(tuple(of["text"]), classes, tuple(of["number"]), tuple(layers), tags)


def open_rows(folder: Path, table: LabelledTable, split: Split) -> TextSplit:
    """Open a split of a table as text: a row is a document, each of its texts one sentence; the
    training rows stand first.
    """
    profile, rows = table_profile(table), table.rows[split]
    first = 0 if split == "train" else table.rows["train"]
    sentences = len(profile.texts)
    offsets = read_array(folder / "sentence_offsets.npy")[
        first * sentences : (first + rows) * sentences + 1
    ]
    tokens = slice(int(offsets[0]), int(offsets[-1]))
    of_rows = slice(first, first + rows)
    labels = {
        name: read_array(folder / f"{LABELS}{number}.npy")[
            tokens if column.kind == "tags" else of_rows
        ]
        for number, (name, column) in enumerate(table.columns.items())
        if column.kind != "text"
    }
    return TextSplit(
        tokens=tokens.stop - tokens.start,
        document_offsets=np.arange(rows + 1) * sentences,
        sentence_offsets=offsets - offsets[0],
        shard_starts=np.zeros(1, dtype=np.int64),
        shard_documents=np.zeros(1, dtype=np.int64),
        shard_sources=[folder.name],
        arrays=[
            {
                name: read_array(folder / f"{name}.npy")[tokens]
                for name in ("token_ids", *profile.layers)
            }
        ],
        labels=labels,
    )
