"""Retrieved documents: for each document, those of its shard that a search for its title or first
sentence finds.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
from pydantic import Field

from ernie_cmtl.atomic_files import read_array
from ernie_cmtl.corpus.layers import FittedLayer, LayerOptions
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


class Retrieved(FittedLayer):
    """How many documents further or back each found one stands, best first; 0 fills up where fewer
    are found.

    A search goes over one split of one shard: its time grows with the corpus as slowly as the
    corpus does.
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
        numbers = np.zeros(int(token_ids.max()) + 1, dtype=np.int64)
        numbers[terms] = np.arange(1, len(terms) + 1)
        import bm25s

        index = bm25s.BM25()
        index.index([[0, *numbers[passage].tolist()] for passage in passages], show_progress=False)
        for document, (row, title, first, second) in enumerate(
            zip(found, titles, starts, seconds, strict=True)
        ):
            query = (title[title > 0] if title.any() else token_ids[first:second])[
                : self.options.query_tokens
            ]
            asked = numbers[query[query < len(numbers)]]
            scores = index.get_scores_from_ids(asked[asked > 0].tolist())
            scores[document] = 0
            others = best(scores, self.options.neighbours, document)
            row[: len(others)] = others - document
        return found


def best(scores: Array, most: int, start: int) -> IntArray:
    """Return where the highest scores above 0 stand, the highest first; int64 [at most `most`].

    start: of equal scores comes first the one that is met first from there on, so that neither a
    place nor the processor decides.
    """
    floor = np.partition(scores, -most)[-most] if most < len(scores) else 0
    found = np.flatnonzero((scores >= floor) & (scores > 0))
    ordered: IntArray = found[np.lexsort(((found - start) % len(scores), -scores[found]))][:most]
    return ordered
