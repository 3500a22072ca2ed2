"""Layers that are fitted: each learns in a process of its own while the others are marked."""

import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ernie_cmtl.atomic_files import read_array
from ernie_cmtl.corpus.build.executor import annotation_processes
from ernie_cmtl.corpus.build.fit_layers import add_fitted_layers
from ernie_cmtl.corpus.layers import FittedLayer, LayerOptions
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.store.manifest import Shard
from ernie_cmtl.records import Array, Vocabulary

SECONDS = 20


class Marked(FittedLayer):
    """Learns nothing; notes the process that marks it."""

    citation = "test"

    def mark(self, folder: Path, shard: Path) -> Array:
        return np.full(len(read_array(shard / "token_ids.npy")), os.getpid(), dtype=np.int64)


class Fitted(Marked):
    """With several processes learns until the first shard has the other layer; notes its
    process.
    """

    def fit(
        self, folder: Path, shards: Sequence[Shard], corpus: Path, vocabulary: Vocabulary
    ) -> None:
        end = time.monotonic() + (SECONDS if (corpus / "several").exists() else 0)
        while (
            not (corpus / "shards" / shards[0].name / "marked.npy").exists()
            and time.monotonic() < end
        ):
            time.sleep(0.01)
        (folder / "process").write_text(f"{os.getpid()} {vocabulary.size}")


def threads_beside(folder: Path) -> int:
    with annotation_processes(1, folder, "en", {}):
        return threading.active_count()


def test_a_process_that_works_alone_is_nobodys_to_end(english: Corpus) -> None:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(threads_beside, (english.folder / "tokenizer",)) == 1


@pytest.mark.parametrize("processes", [1, 2])
def test_a_layer_learns_in_another_process_while_the_others_are_marked(
    processes: int, english: Corpus, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(english.folder, corpus)
    if processes > 1:
        (corpus / "several").touch()
    shards = [shard.model_copy(deep=True) for shard in english.manifest.shards]
    layers = {
        name: layer(LayerOptions(), "en")
        for name, layer in (("fitted", Fitted), ("marked", Marked))
    }
    start = time.monotonic()
    with annotation_processes(processes, corpus / "tokenizer", "en", {}) as workers:
        add_fitted_layers(corpus, layers, shards, english.vocabulary, workers)
    process, size = map(int, (corpus / "fitted" / "fitted" / "process").read_text().split())
    marker = int(read_array(corpus / "shards" / shards[0].name / "marked.npy")[0])
    assert size == english.vocabulary.size
    assert all({"fitted", "marked"} <= shard.hashes.keys() for shard in shards)
    if processes == 1:
        assert process == marker == os.getpid()
    else:
        assert time.monotonic() - start < SECONDS
        assert len({process, marker, os.getpid()}) == 3


def test_what_is_fitted_and_marked_already_stays_as_it_is(english: Corpus, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(english.folder, corpus)
    shards = [shard.model_copy(deep=True) for shard in english.manifest.shards]
    layers = {"fitted": Fitted(LayerOptions(), "en")}
    with annotation_processes(1, corpus / "tokenizer", "en", {}) as workers:
        add_fitted_layers(corpus, layers, shards, english.vocabulary, workers)
        (corpus / "fitted" / "fitted" / "process").write_text("as it was")
        marked = (corpus / "shards" / shards[0].name / "fitted.npy").stat().st_ino
        add_fitted_layers(corpus, layers, shards, english.vocabulary, workers)
    assert (corpus / "fitted" / "fitted" / "process").read_text() == "as it was"
    assert (corpus / "shards" / shards[0].name / "fitted.npy").stat().st_ino == marked
