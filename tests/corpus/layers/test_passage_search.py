"""A search that reads a part of its index finds what one that scores every passage finds, in a time
that does not grow with the passages.
"""

from collections.abc import Sequence

import bm25s
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_cmtl.corpus.layers._passage_search import PassageSearch, best
from ernie_cmtl.corpus.layers.retrieved import RetrievedOptions
from ernie_cmtl.records import Array, IntArray

MOST = 8
DEFAULT = RetrievedOptions().list_entries


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(1, 6), st.integers(0, 11))
def test_the_best_come_first_and_equal_ones_in_turn(
    scores: list[int], most: int, start: int
) -> None:
    start %= len(scores)
    in_turn = [*range(start, len(scores)), *range(start)]
    expected = sorted(in_turn, key=lambda place: -scores[place])[:most]
    turns = (np.arange(len(scores)) - start) % len(scores)
    assert best(np.array(scores, dtype=np.float32), most, turns).tolist() == expected


def passages_of(count: int, sentence: int = 24) -> tuple[list[list[int]], list[IntArray]]:
    """Draw passages and queries of one sentence each, with words as unequal as those of text."""
    rng = np.random.default_rng(0)
    words = 2000
    weights = 1 / (np.arange(words) + 2.7)
    drawn = rng.choice(words, (2, count, sentence), p=weights / weights.sum()) + 1
    lengths = rng.integers(sentence // 4, sentence + 1, (2, count))
    used = np.unique(drawn[0])
    numbers = np.zeros(words + 1, dtype=np.int64)
    numbers[used] = np.arange(1, len(used) + 1)
    texts = [
        [numbers[row[:size]] for row, size in zip(rows, sizes, strict=True)]
        for rows, sizes in zip(drawn, lengths, strict=True)
    ]
    # Of terms that only cut-off ends hold, the first passage has one each: no number is left out.
    passages = [[0, *text.tolist()] for text in texts[0]]
    passages[0] += sorted({*range(len(used) + 1)} - {term for row in passages for term in row})
    return passages, [query[query > 0] for query in texts[1]]


def exact(passages: Sequence[Sequence[int]]) -> bm25s.BM25:
    index = bm25s.BM25()
    index.index(passages, create_empty_token=False, show_progress=False)
    return index


def found_by(index: bm25s.BM25, query: IntArray, passage: int) -> list[int]:
    scores = index.get_scores_from_ids(query.tolist())
    scores[passage] = 0
    in_turn = np.roll(np.arange(len(scores)), -passage)
    ranked = in_turn[np.argsort(-scores[in_turn], kind="stable")][:MOST]
    return [place for place in ranked.tolist() if scores[place]]


@pytest.mark.parametrize(
    ("count", "entries"),
    [(4000, DEFAULT // 10), pytest.param(40_000, DEFAULT, marks=pytest.mark.slow)],
)
def test_nearly_every_search_finds_what_one_over_every_passage_finds(
    count: int, entries: int
) -> None:
    passages, queries = passages_of(count)
    index, quick = exact(passages), PassageSearch(passages, entries)
    sample = range(0, count, count // 500)
    held = np.diff(index.scores["indptr"])
    assert np.mean([held[queries[place]].sum() > entries for place in sample]) > 0.5
    same = [
        quick.best(queries[place], place, MOST).tolist() == found_by(index, queries[place], place)
        for place in sample
    ]
    assert np.mean(same) >= 0.99


def test_a_search_that_may_read_everything_scores_as_bm25s_does() -> None:
    passages, queries = passages_of(300)
    index, quick = exact(passages), PassageSearch(passages, DEFAULT)
    for place, query in enumerate(queries):
        assert quick.best(query, place, MOST).tolist() == found_by(index, query, place)


class Counting(PassageSearch):
    """Counts the entries that are read."""

    entries = 0

    def _read(
        self, lists: Sequence[tuple[slice, int]], passage: int, most: int
    ) -> tuple[IntArray, Array]:
        self.entries += sum(len(self._passages[entries]) for entries, _ in lists)
        return super()._read(lists, passage, most)

    def _following(self, entries: slice, passage: int) -> tuple[IntArray, Array]:
        found, scores = super()._following(entries, passage)
        self.entries += len(found)
        return found, scores


def test_a_search_reads_no_more_than_it_may_even_where_every_passage_holds_its_terms() -> None:
    passages = [[0, 1, 2, *([3] if place % 1000 == 500 else [])] for place in range(20_000)]
    quick = Counting(passages, 100)
    found = quick.best(np.array([1, 2, 2, 3]), 500, MOST)
    assert 0 < quick.entries <= 100
    assert found.tolist() == [1500 + 1000 * number for number in range(MOST)]
    quick.entries = 0
    assert quick.best(np.array([1, 2]), 19_997, MOST).tolist() == [19_998, 19_999, *range(6)]
    assert 0 < quick.entries <= 100
