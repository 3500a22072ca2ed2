"""Keys, permutations and generators that need no state."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_cmtl.randomness import KeyedGenerator, KeyedPermutation, derive_key

SIZES = [1, 2, 3, 1000] + [
    2**power + step for power in (2, 3, 4, 7, 8, 10, 13) for step in (-1, 0, 1)
]


@pytest.mark.parametrize("size", SIZES)
def test_permutation_holds_each_element_once(size):
    for key in (0, 1, 2**63):
        assert sorted(KeyedPermutation(size, key)(np.arange(size)).tolist()) == list(range(size))


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 3000), st.integers(0, 2**64 - 1))
def test_any_places_of_a_permutation_are_those_of_the_whole_order(data, size, key):
    whole = KeyedPermutation(size, key)(np.arange(size))
    assert len(set(whole.tolist())) == size
    assert whole.min() == 0
    assert whole.max() == size - 1
    places = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20))
    assert KeyedPermutation(size, key)(places).tolist() == [whole[place] for place in places]


@pytest.mark.parametrize("size", [20, 64, 1000])
def test_different_keys_give_different_orders(size):
    orders = {tuple(KeyedPermutation(size, key)(np.arange(size)).tolist()) for key in range(100)}
    assert len(orders) == 100
    assert tuple(range(size)) not in orders


@pytest.mark.parametrize("size", [5, 7, 40])
def test_each_element_comes_to_each_place_equally_often(size):
    orders = np.stack([KeyedPermutation(size, key)(np.arange(size)) for key in range(1500)])
    expected = len(orders) / size
    freedom = size - 1
    for place in range(size):
        counts = np.bincount(orders[:, place], minlength=size)
        assert ((counts - expected) ** 2 / expected).sum() < freedom + 6 * (2 * freedom) ** 0.5, (
            place
        )


def test_permutation_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one element"):
        KeyedPermutation(0, 1)


def draw_a_bit_of_everything(rng: np.random.Generator) -> list[float]:
    # An odd number of 32-bit draws leaves half a word behind, which must not reach the next sample.
    halves = rng.integers(1 << 31, size=3, dtype=np.uint32)
    return [
        *halves.tolist(),
        *rng.random(5).tolist(),
        *rng.permutation(7).tolist(),
        float(rng.standard_normal()),
    ]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 9)), max_size=4), st.integers(0, 2**40)
)
def test_generator_at_a_counter_does_not_know_what_was_drawn_before(before, counter):
    used = KeyedGenerator(5)
    for other, draws in before:
        rng = used.at(other)
        rng.integers(1 << 31, size=draws, dtype=np.uint32)
        rng.random(draws)
    assert draw_a_bit_of_everything(used.at(counter)) == draw_a_bit_of_everything(
        KeyedGenerator(5).at(counter)
    )


def test_streams_of_different_counters_and_keys_share_no_word():
    counters = [0, 1, 2, 3, 500, 2**32, 2**32 + 1, 2**40]
    words = [
        KeyedGenerator(key).at(n).integers(2**64, size=2000, dtype=np.uint64)
        for key in (1, 2)
        for n in counters
    ]
    joined = np.concatenate(words)
    assert len(np.unique(joined)) == len(joined)


def test_keys_separate_parts_and_types():
    sequences = [
        ("a", "b"),
        ("ab",),
        ("b", "a"),
        ("a",),
        ("a", ""),
        (),
        (1,),
        ("1",),
        (1, 1),
        (11,),
        ("a", 1),
        ("a", "1"),
        (-1,),
    ]
    assert len({derive_key(*parts) for parts in sequences}) == len(sequences)


def test_keys_are_the_same_in_every_process_and_version():
    # A run that is resumed must draw what it would have drawn: these numbers may never change.
    assert derive_key(1, "order", "knowledge_masking") == 1963195110735985302
    assert derive_key() == 13020603013274838756
