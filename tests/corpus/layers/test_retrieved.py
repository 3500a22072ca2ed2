"""Of the passages that a search scores the same, neither a place nor the processor chooses."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_cmtl.corpus.layers.retrieved import best


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(1, 6), st.integers(0, 11))
def test_the_best_come_first_and_equal_ones_in_turn_from_the_start(
    scores: list[int], most: int, start: int
) -> None:
    start %= len(scores)
    in_turn = [*range(start, len(scores)), *range(start)]
    expected = [
        place for place in sorted(in_turn, key=lambda place: -scores[place]) if scores[place]
    ][:most]
    assert best(np.array(scores, dtype=np.float32), most, start).tolist() == expected
