"""What a search finds for the documents of a shard, and how long it takes with many of them."""

import json
import time
from pathlib import Path

import numpy as np

from ernie_cmtl.atomic_files import write_array
from ernie_cmtl.corpus.layers.retrieved import Retrieved, RetrievedOptions
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.store.manifest import MANIFEST, Extent, Shard
from ernie_cmtl.records import Array
from tests.support.command_line import result_of
from tests.support.corpora import build_corpus, sample_texts, write_jsonl


def layer_of(folder: Path, documents: int, sentences: int, tokens: int) -> Array:
    """Mark a shard of equally long documents of random tokens."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    drawn = rng.geometric(0.002, documents * sentences * tokens).astype(np.uint16)
    write_array(folder / "token_ids.npy", drawn)
    ends = np.arange(documents * sentences + 1, dtype=np.int64)
    write_array(folder / "sentence_offsets.npy", ends * tokens)
    write_array(folder / "document_offsets.npy", ends[::sentences])
    extent = Extent(documents=documents, sentences=documents * sentences, tokens=len(drawn))
    record = Shard(
        name=folder.name,
        source="text",
        first=0,
        read=documents,
        duplicates=0,
        rejections={},
        bytes=len(drawn),
        train=extent,
        heldout=Extent(),
        hashes={},
    )
    (folder / "shard.json").write_text(record.model_dump_json())
    return Retrieved(RetrievedOptions(), "en").mark(folder, folder)


def test_many_documents_of_one_sentence_take_a_moment(tmp_path: Path) -> None:
    start = time.process_time()
    assert not layer_of(tmp_path / "shard", 100_000, 1, 8).any()
    # Searching all of them for each takes minutes.
    assert time.process_time() - start < 20


def test_each_document_finds_others(tmp_path: Path) -> None:
    layer = layer_of(tmp_path / "shard", 500, 2, 20)
    assert layer.shape == (500, 8)
    assert layer[:, 0].all()
    found = np.arange(500) + layer[:, 0]
    assert found.min() >= 0
    assert found.max() < 500


def test_a_corpus_that_was_searched_without_a_limit_opens_and_grows(tmp_path: Path) -> None:
    texts = sample_texts("en", 24)
    build_corpus(tmp_path, texts[:12], layers={"retrieved": {}})
    folder = tmp_path / "corpus"
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["layer_options"]["retrieved"]["list_entries"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    before = Corpus(folder)
    assert before.split("train").documents == 9
    more = write_jsonl(tmp_path / "more.jsonl", texts[12:])
    result_of("prepare", "--corpus", folder, "--input", more, "--processes", "1")
    after = Corpus(folder)
    assert after.split("train").documents > 9
    assert after.manifest.shards[0].hashes == before.manifest.shards[0].hashes
    limit = RetrievedOptions().list_entries
    assert after.manifest.layer_options["retrieved"]["list_entries"] == limit
