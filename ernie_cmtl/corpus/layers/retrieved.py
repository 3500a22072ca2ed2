"""Retrieved documents: for each document, those of its shard that a search for its title or first sentence finds."""

from itertools import pairwise
from pathlib import Path

import numpy as np
from pydantic import Field

from ernie_cmtl.corpus.bm25 import Passages, best
from ernie_cmtl.corpus.layers import FittedLayer, LayerOptions
from ernie_cmtl.corpus.manifest import Shard
from ernie_cmtl.corpus.titles import TITLES
from ernie_cmtl.files import read_array
from ernie_cmtl.records import Array, IntArray


class RetrievedOptions(LayerOptions):
    """How much is searched, and with how much."""

    neighbours: int = Field(8, ge=1, le=100)
    """Most documents that are kept for one."""
    query_tokens: int = Field(32, ge=1)
    """Tokens of the title, or of the first sentence where there is none, that are searched for."""
    passage_tokens: int = Field(256, ge=8)
    """Tokens after the first sentence that a document is found by."""


class Retrieved(FittedLayer):
    """How many documents further or back each found one stands, best first; 0 fills up where fewer are found.

    A search goes over one split of one shard: its time grows with the corpus as slowly as the corpus does.
    """

    source = "BM25 (Robertson & Zaragoza 2009)"
    of_documents = True
    Options = RetrievedOptions
    options: RetrievedOptions

    def mark(self, folder: Path, shard: Path) -> Array:
        """Return int32 [documents, neighbours]."""
        record = Shard.model_validate_json((shard / "shard.json").read_bytes())
        token_ids = np.asarray(read_array(shard / "token_ids.npy"))
        sentences = np.asarray(read_array(shard / "sentence_offsets.npy"))
        documents = np.asarray(read_array(shard / "document_offsets.npy"))
        path = shard / f"{TITLES}.npy"
        titles = np.asarray(read_array(path)) if path.is_file() else np.zeros((len(documents) - 1, 0), dtype=np.uint16)
        edges = (0, record.train.documents, record.train.documents + record.heldout.documents)
        parts = [self._search(token_ids, sentences, documents[a : b + 1], titles[a:b]) for a, b in pairwise(edges)]
        return np.concatenate(parts)

    def _search(self, token_ids: Array, sentences: IntArray, documents: IntArray, titles: Array) -> Array:
        count = len(documents) - 1
        found = np.zeros((count, self.options.neighbours), dtype=np.int32)
        if count < 2:
            return found
        starts, stops = sentences[documents[:-1]], sentences[documents[1:]]
        seconds = sentences[documents[:-1] + 1]
        lengths = np.minimum(stops - seconds, self.options.passage_tokens)
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        passages = Passages(token_ids[np.repeat(seconds, lengths) + within], lengths)
        for document, (row, title, first, second) in enumerate(zip(found, titles, starts, seconds, strict=True)):
            query = title[title > 0] if title.any() else token_ids[first:second]
            scores = passages.scores(query[: self.options.query_tokens])
            scores[document] = 0
            others = best(scores, self.options.neighbours, document)
            row[: len(others)] = others - document
        return found
