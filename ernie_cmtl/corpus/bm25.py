"""BM25 (Robertson & Zaragoza 2009, as Lucene weighs it): passages of tokens, scored for a query in whole arrays."""

import numpy as np

from ernie_cmtl.records import Array, IntArray

_SATURATION = 1.5
"""k1: how slowly a term that is said again and again gains."""
_LENGTH = 0.75
"""b: how much a long passage is held back."""
_FREQUENT = 16
"""A term that more than one in so many passages holds has its scores for all passages kept, since adding those is faster."""


class Passages:
    """The scores of every term in every passage that holds it."""

    def __init__(self, token_ids: Array, lengths: IntArray) -> None:
        """Weigh the terms of passages that stand one after the other; lengths: their tokens, int64 [passages]."""
        self._passages = len(lengths)
        passage = np.repeat(np.arange(self._passages), lengths)
        pairs, counts = np.unique(token_ids.astype(np.int64) * self._passages + passage, return_counts=True)
        terms, self._places = np.divmod(pairs, self._passages)
        holding = np.bincount(terms)
        rarity = np.log(1 + (self._passages - holding + 0.5) / (holding + 0.5)).astype(np.float32)
        # One more each: passages without any token have a mean length too.
        longer = (lengths + 1) / np.mean(lengths + 1)
        steps = counts / (counts + _SATURATION * (1 - _LENGTH + _LENGTH * longer[self._places]))
        self._scores = (rarity[terms] * steps).astype(np.float32)
        self._edges = [0, *np.cumsum(holding).tolist()]
        self._rows: dict[int, Array] = {}

    def scores(self, query: Array) -> Array:
        """Return the score of each passage for a query of token ids, a term counting as often as it stands there; float32."""
        found = np.zeros(self._passages, dtype=np.float32)
        for term in query.tolist():
            if term < len(self._edges) - 1:
                held = slice(self._edges[term], self._edges[term + 1])
                if (held.stop - held.start) * _FREQUENT > self._passages:
                    found += self._row(term, held)
                else:
                    found[self._places[held]] += self._scores[held]
        return found

    def _row(self, term: int, held: slice) -> Array:
        row = self._rows.get(term)
        if row is None:
            row = self._rows[term] = np.zeros(self._passages, dtype=np.float32)
            row[self._places[held]] = self._scores[held]
        return row


def best(scores: Array, most: int, start: int) -> IntArray:
    """Return where the highest scores above 0 stand, the highest first; int64 [at most `most`].

    start: of equal scores comes first the one that is met first from there on, so that no place is preferred to all others.
    """
    floor = np.partition(scores, -most)[-most] if most < len(scores) else 0
    found = np.flatnonzero((scores >= floor) & (scores > 0))
    ordered: IntArray = found[np.lexsort(((found - start) % len(scores), -scores[found]))][:most]
    return ordered
