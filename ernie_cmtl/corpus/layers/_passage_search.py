"""Search among passages in a time for one query that does not grow with the passages.

BM25 scores come from `bm25s`. Its own search scores every passage for every query; here a query
reads the lists of its rarest terms, and only what it finds there is scored.
"""

from collections.abc import Sequence

import numpy as np

from ernie_cmtl.records import Array, IntArray

_SCORED = 8
"""Passages that are scored by all terms of a query, for each one that is asked for."""


class PassageSearch:
    """Passages, searched by the terms that they hold."""

    def __init__(self, passages: Sequence[Sequence[int]], most_entries: int) -> None:
        """Index passages.

        passages: terms of each, numbered from 0 without a gap; none is empty. most_entries: entries
        of the lists of terms that one query may read.
        """
        import bm25s

        index = bm25s.BM25()
        index.index(passages, create_empty_token=False, show_progress=False)
        self._most_entries = most_entries
        # A list a term: the passages that hold it, ascending, and what it adds to each score.
        self._edges = np.asarray(index.scores["indptr"], dtype=np.int64)
        self._passages = np.asarray(index.scores["indices"], dtype=np.int64)
        self._values: Array = index.scores["data"]
        # Zero between queries: a new array for each would take as long as scoring every passage.
        self._scores = np.zeros(len(passages), dtype=np.float32)

    def best(self, terms: IntArray, passage: int, most: int) -> IntArray:
        """Return the passages with the highest scores above 0, the highest first; int64 [at most
        `most`].

        Where the lists of all terms hold no more entries than may be read, they are those of a
        search that scores every passage; else nearly so.

        terms: of the query; a term that occurs twice counts twice. passage: is skipped. Equal
        scores are ordered by place, from this passage on and then from the first one.
        """
        if not len(terms):
            return np.zeros(0, dtype=np.int64)
        if (self._edges[terms + 1] - self._edges[terms]).sum() <= self._most_entries:
            # In the order of the query, as bm25s sums.
            lists = [(slice(*self._edges[term : term + 2]), 1) for term in terms.tolist()]
            found, scores = self._read(lists, passage, most)
        else:
            found, scores = self._pruned(terms, passage, most)
        return found[best(scores, most, (found - passage) % len(self._scores))]

    def _pruned(self, terms: IntArray, passage: int, most: int) -> tuple[IntArray, Array]:
        """Return the best passages of the shortest lists, with their scores by all of them;
        ascending.
        """
        distinct, counts = np.unique(terms, return_counts=True)
        sizes = self._edges[distinct + 1] - self._edges[distinct]
        order = np.argsort(sizes, kind="stable")
        lists = [
            (slice(*self._edges[term : term + 2]), count)
            for term, count in zip(distinct[order].tolist(), counts[order].tolist(), strict=True)
        ]
        read = int(np.searchsorted(np.cumsum(sizes[order]), self._most_entries, side="right"))
        if read:
            found, scores = self._read(lists[:read], passage, _SCORED * most)
        else:
            found, scores = self._following(lists[0][0], passage)
        for entries, count in lists[read:]:
            held = self._passages[entries]
            places = np.minimum(np.searchsorted(held, found), len(held) - 1)
            scores = scores + count * self._values[entries][places] * (held[places] == found)
        return found, scores

    def _read(
        self, lists: Sequence[tuple[slice, int]], passage: int, most: int
    ) -> tuple[IntArray, Array]:
        """Return at least the `most` passages to which some lists add the most, without one, and
        what they add; ascending.

        lists: entries, and how often each list counts.
        """
        places = np.concatenate([self._passages[entries] for entries, _ in lists])
        added = np.concatenate([count * self._values[entries] for entries, count in lists])
        np.add.at(self._scores, places, added)
        self._scores[passage] = 0
        scores = self._scores[places]
        self._scores[places] = 0
        # A passage stands here once for each list that holds it.
        kept = (scores >= _highest(scores, most * len(lists))) & (scores > 0)
        found, first = np.unique(places[kept], return_index=True)
        return found, scores[kept][first]

    def _following(self, entries: slice, passage: int) -> tuple[IntArray, Array]:
        """Return the passages that follow one in a list, all round, as many as may be read, each
        with the score 0; ascending.
        """
        held = self._passages[entries]
        start = np.searchsorted(held, passage, side="right")
        found = held[(start + np.arange(self._most_entries)) % len(held)]
        found = np.sort(found[found != passage])
        return found, np.zeros(len(found), dtype=np.float32)


def _highest(scores: Array, number: int) -> float:
    """Return the score at a rank, counted from the highest; 0 where there are fewer scores."""
    return float(np.partition(scores, -number)[-number]) if number <= len(scores) else 0.0


def best(scores: Array, most: int, turns: IntArray) -> IntArray:
    """Return where the highest scores stand, the highest first; int64 [at most `most`].

    turns: of equal scores, that with the smallest turn comes first, so that neither a place nor the
    processor decides.
    """
    found = np.flatnonzero(scores >= _highest(scores, most))
    ordered: IntArray = found[np.lexsort((turns[found], -scores[found]))][:most]
    return ordered
