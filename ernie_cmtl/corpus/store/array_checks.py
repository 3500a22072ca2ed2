"""Compares the arrays of a corpus with its manifest: both may come from somebody else."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ernie_cmtl.atomic_files import read_array
from ernie_cmtl.corpus.store.manifest import (
    LABELS,
    NO_TAG,
    STRUCTURE,
    Extent,
    LabelledTable,
    Manifest,
    Shard,
)
from ernie_cmtl.errors import UserError
from ernie_cmtl.foreign_files import check_array
from ernie_cmtl.records import Array


def check_shard(folder: Path, shard: Shard, manifest: Manifest) -> None:
    """Compare the arrays of a shard with what the manifest says of them.

    Raises:
        UserError: One has another dtype or shape, offsets do not rise to their end, or a token is
            none of the vocabulary.
    """
    if not shard.hashes and (shard.train, shard.heldout) == (Extent(), Extent()):
        return
    needed = (*STRUCTURE, *manifest.layers)
    _check_hashes(folder, shard.hashes, needed)
    documents, sentences, tokens = (
        getattr(shard.train, name) + getattr(shard.heldout, name)
        for name in ("documents", "sentences", "tokens")
    )
    _check_tokens(folder / "token_ids.npy", tokens, manifest.vocabulary_size)
    of_sentences = _check_offsets(folder / "sentence_offsets.npy", sentences, tokens)
    of_documents = _check_offsets(folder / "document_offsets.npy", documents, sentences)
    train = shard.train
    if (of_documents[train.documents], of_sentences[train.sentences]) != (
        train.sentences,
        train.tokens,
    ):
        raise UserError(f"{folder} is damaged: its training split does not end with a document")
    for name in manifest.layers:
        path = folder / f"{name}.npy"
        layer = read_array(path)
        if name in manifest.document_layers:
            check_array(layer, path, "buif", (documents, *[None] * (layer.ndim - 1)))
        else:
            check_array(layer, path, "buif", (tokens,))


def check_table(folder: Path, table: LabelledTable, vocabulary_size: int) -> None:
    """Compare the arrays of a labelled table with what the manifest says of them.

    Raises:
        UserError: As for a shard, or a class, tag or number is none.
    """
    columns = enumerate(table.columns.values())
    labels = [f"{LABELS}{number}" for number, column in columns if column.kind != "text"]
    _check_hashes(folder, table.hashes, ["token_ids", "sentence_offsets", *labels])
    rows = table.rows["train"] + table.rows["heldout"]
    texts = sum(column.kind == "text" for column in table.columns.values())
    offsets = read_array(folder / "sentence_offsets.npy")
    check_array(offsets, folder / "sentence_offsets.npy", "iu", (rows * texts + 1,))
    tokens = int(offsets[-1])
    _check_offsets(folder / "sentence_offsets.npy", rows * texts, tokens)
    _check_tokens(folder / "token_ids.npy", tokens, vocabulary_size)
    for number, column in enumerate(table.columns.values()):
        path = folder / f"{LABELS}{number}.npy"
        if column.kind == "class":
            _check_below(path, rows, len(column.classes), "a class that its manifest lacks")
        elif column.kind == "tags":
            _check_below(path, tokens, len(column.classes), "a tag that its manifest lacks", NO_TAG)
        elif column.kind == "number":
            numbers = read_array(path)
            check_array(numbers, path, "f", (rows,))
            if not np.isfinite(numbers).all():
                raise UserError(f"{path} is damaged: it holds a number that is not finite")
    for name in table.hashes:
        if name not in STRUCTURE and not name.startswith(LABELS):
            path = folder / f"{name}.npy"
            check_array(read_array(path), path, "buif", (tokens,))


def _check_hashes(folder: Path, hashes: Mapping[str, str], needed: Iterable[str]) -> None:
    if missing := [name for name in needed if name not in hashes]:
        raise UserError(f"{folder} is damaged: the manifest has no hash of its {missing[0]}")


def _check_tokens(path: Path, count: int, vocabulary_size: int) -> None:
    check_array(read_array(path), path, "u", (count,))
    _check_below(path, count, vocabulary_size, "a token that the vocabulary lacks")


def _check_below(path: Path, count: int, limit: int, what: str, least: int = 0) -> None:
    array = read_array(path)
    check_array(array, path, "iu", (count,))
    if count and not least <= int(array.min()) <= int(array.max()) < limit:
        raise UserError(f"{path} is damaged: it holds {what}")


def _check_offsets(path: Path, parts: int, end: int) -> Array:
    """Check offsets and return them; [parts + 1]."""
    offsets = read_array(path)
    check_array(offsets, path, "i", (parts + 1,))
    if offsets[0] != 0 or offsets[-1] != end or not (offsets[1:] > offsets[:-1]).all():
        raise UserError(f"{path} is damaged: its offsets do not rise from 0 to {end}")
    return offsets
