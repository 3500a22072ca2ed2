"""Retrieved documents: for each document, those of its shard that a search for its title or first
sentence finds.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
from pydantic import Field

from ernie_cmtl.atomic_files import read_array
from ernie_cmtl.corpus.layers import FittedLayer, LayerOptions
from ernie_cmtl.corpus.layers._passage_search import PassageSearch
from ernie_cmtl.corpus.store.manifest import Shard
from ernie_cmtl.corpus.tokens.titles import TITLES
from ernie_cmtl.records import Array, IntArray


class RetrievedOptions(LayerOptions):
    """How much is searched, and with how much."""

    neighbours: int = Field(8, ge=1, le=100)
    """Most documents that are kept for one."""
    query_tokens: int = Field(32, ge=1)
    """Tokens of the title, or of the first sentence where there is none, that are searched for."""
    passage_tokens: int = Field(256, ge=8)
    """Tokens after the first sentence that a document is found by."""
    list_entries: int = Field(32_000, ge=1)
    """A search reads at most so many places where its tokens occur, those of the rarest token
    first. Corpora of earlier versions were searched without a limit.
    """


class Retrieved(FittedLayer):
    """How many documents further or back each found one stands, best first; 0 fills up where fewer
    are found.

    A search goes over one split of one shard, and reads a limited part of its index: its time
    does not grow with the documents.
    """

    citation = "BM25 (Robertson & Zaragoza 2009), by bm25s"
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
        titles = (
            np.asarray(read_array(path))
            if path.is_file()
            else np.zeros((len(documents) - 1, 0), dtype=np.uint16)
        )
        edges = (0, record.train.documents, record.train.documents + record.heldout.documents)
        parts = [
            self._search(token_ids, sentences, documents[a : b + 1], titles[a:b])
            for a, b in pairwise(edges)
        ]
        return np.concatenate(parts)

    def _search(
        self, token_ids: Array, sentences: IntArray, documents: IntArray, titles: Array
    ) -> Array:
        count = len(documents) - 1
        found = np.zeros((count, self.options.neighbours), dtype=np.int32)
        if count < 2:
            return found
        starts, stops = sentences[documents[:-1]], sentences[documents[1:]]
        seconds = sentences[documents[:-1] + 1]
        passages = [
            token_ids[a : min(b, a + self.options.passage_tokens)]
            for a, b in zip(seconds, stops, strict=True)
        ]
        # Numbers of terms as they stand in passages; 0 is left for a term that every document has,
        # so that none is without any.
        terms = np.unique(np.concatenate(passages))
        if not len(terms):
            return found
        numbers = np.zeros(int(token_ids.max()) + 1, dtype=np.int64)
        numbers[terms] = np.arange(1, len(terms) + 1)
        search = PassageSearch(
            [[0, *numbers[passage].tolist()] for passage in passages], self.options.list_entries
        )
        for document, (row, title, first, second) in enumerate(
            zip(found, titles, starts, seconds, strict=True)
        ):
            query = (title[title > 0] if title.any() else token_ids[first:second])[
                : self.options.query_tokens
            ]
            asked = numbers[query[query < len(numbers)]]
            others = search.best(asked[asked > 0], document, self.options.neighbours)
            row[: len(others)] = others - document
        return found
