"""How often a token occurs in its document, counted again in the text."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ernie_cmtl.atomic_files import write_array
from ernie_cmtl.corpus.layers import find_layer
from ernie_cmtl.corpus.store.corpus import Corpus
from tests.support.corpora import build_corpus, sample_texts
from tests.support.counted_documents import documents_of


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_document_of_each_shard_is_counted_by_itself(tmp_path: Path, language: str) -> None:
    texts = sample_texts(language, 24)
    build_corpus(tmp_path, texts, language, shard_bytes=10_000)
    corpus = Corpus(tmp_path / "corpus")
    assert len(corpus.manifest.shards) > 1
    train, heldout = documents_of(corpus.folder, "document_counts")
    in_text = [corpus.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert sorted(tokens for tokens, _ in train + heldout) == sorted(in_text)
    for tokens, found in train + heldout:
        counts = Counter(tokens)
        assert found == [counts[token] for token in tokens]
    assert max(max(found) for _, found in train) > 20


def shard_of(folder: Path, token_type: Any, *documents: list[int]) -> Path:
    """Write what a shard has to have, each document one sentence."""
    folder.mkdir()
    ends = np.cumsum([0, *map(len, documents)])
    write_array(folder / "token_ids.npy", np.concatenate(documents).astype(token_type))
    write_array(folder / "sentence_offsets.npy", ends.astype(np.int64))
    write_array(folder / "document_offsets.npy", np.arange(len(ends), dtype=np.int64))
    return folder


@pytest.mark.parametrize("token_type", [np.uint16, np.uint32])
def test_counts_end_at_the_largest_number_of_two_bytes(tmp_path: Path, token_type: Any) -> None:
    kind = find_layer("document_counts")
    shard = shard_of(tmp_path / "shard", token_type, [7] * 70_000 + [3, 3], [7], [3] * 65_534 + [9])
    layer = kind(kind.Options(), "en").mark(tmp_path, shard)  # type: ignore[attr-defined]
    assert layer.dtype == np.uint16
    assert layer.tolist() == [65_535] * 70_000 + [2, 2] + [1] + [65_534] * 65_534 + [1]
