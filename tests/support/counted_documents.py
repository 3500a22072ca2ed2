"""What the tests of counted layers share: the documents of a corpus, read from its files."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np

Row = tuple[list[int], list[int]]
"""Token ids of a document, and what a layer says of them."""


def documents_of(corpus: Path, layer: str) -> tuple[list[Row], list[Row]]:
    """Return the documents of the training split and those that are held out."""
    train: list[Row] = []
    heldout: list[Row] = []
    for shard in json.loads((corpus / "manifest.json").read_text())["shards"]:
        folder = corpus / "shards" / shard["name"]
        sentences, documents = (
            np.load(folder / f"{name}_offsets.npy").tolist() for name in ("sentence", "document")
        )
        tokens, values = (np.load(folder / f"{name}.npy").tolist() for name in ("token_ids", layer))
        edges = [sentences[document] for document in documents]
        rows = [(tokens[a:b], values[a:b]) for a, b in pairwise(edges)]
        train += rows[: shard["train"]["documents"]]
        heldout += rows[shard["train"]["documents"] :]
    return train, heldout
