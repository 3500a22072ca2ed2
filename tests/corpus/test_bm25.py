"""BM25 against the formula, written out for one term of one passage at a time."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_cmtl.corpus import bm25
from ernie_cmtl.corpus.bm25 import Passages, best

TERMS = st.lists(st.integers(0, 6), max_size=12)


def passages_of(texts: list[list[int]]) -> Passages:
    flat = [term for text in texts for term in text]
    return Passages(np.array(flat, dtype=np.uint16), np.array([len(text) for text in texts]))


def expected_score(texts: list[list[int]], place: int, query: list[int]) -> float:
    mean = sum(len(text) + 1 for text in texts) / len(texts)
    score = 0.0
    for term in query:
        holding = sum(term in text for text in texts)
        count = texts[place].count(term)
        rarity = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
        score += rarity * count / (count + 1.5 * (0.25 + 0.75 * (len(texts[place]) + 1) / mean))
    return score


@pytest.mark.parametrize("frequent", [1, 3, 1000])
@settings(max_examples=40, deadline=None)
@given(texts=st.lists(TERMS, min_size=1, max_size=9), query=st.lists(st.integers(0, 9), max_size=8))
def test_scores_are_those_of_the_formula_however_they_are_added(frequent: int, texts: list[list[int]], query: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bm25, "_FREQUENT", frequent)
        found = passages_of(texts).scores(np.array(query, dtype=np.int64))
    assert found.tolist() == pytest.approx([expected_score(texts, place, query) for place in range(len(texts))], rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(1, 6), st.integers(0, 11))
def test_the_best_come_first_and_equal_ones_in_turn_from_the_start(scores: list[int], most: int, start: int) -> None:
    start %= len(scores)
    in_turn = [*range(start, len(scores)), *range(start)]
    expected = [place for place in sorted(in_turn, key=lambda place: -scores[place]) if scores[place]][:most]
    assert best(np.array(scores, dtype=np.float32), most, start).tolist() == expected
