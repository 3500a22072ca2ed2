"""Masked-token targets."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.masking import mask_units
from ernie_cmtl.data.masking_units import knowledge_units
from ernie_cmtl.records import AnnotatedText, IntArray, Targets, Vocabulary

SPECIALS = 5
SIZE = 25


def small_vocabulary() -> Vocabulary:
    special = np.arange(SIZE) < SPECIALS
    return Vocabulary(
        SIZE,
        cls_id=1,
        sep_id=2,
        pad_id=0,
        mask_id=3,
        special=special,
        ordinary_ids=np.arange(SPECIALS, SIZE),
    )


def units_of(starts: list[int]) -> list[list[int]]:
    """Positions of the tokens of each unit; the first token begins one in any case."""
    units: list[list[int]] = []
    for position, start in enumerate(starts):
        if start or not units:
            units.append([])
        units[-1].append(position)
    return units


TEXTS = st.lists(
    st.tuples(
        st.sampled_from([*range(SPECIALS, SIZE)] * 3 + [*range(SPECIALS)]),
        st.sampled_from([0, 0, 1, 2]),
    )
)


@settings(max_examples=200, deadline=None)
@given(TEXTS.filter(len), st.sampled_from([0.05, 0.15, 0.5, 0.9]), st.integers(0, 1000))
def test_whole_units_without_special_tokens_are_masked(text, rate, seed):
    ids, starts = (list(column) for column in zip(*text, strict=True))
    token_ids = np.array(ids)
    result = mask_units(
        token_ids,
        np.array(starts, dtype=np.uint8),
        small_vocabulary(),
        rate,
        np.random.default_rng(seed),
    )
    assert token_ids.tolist() == ids
    maskable = [
        unit for unit in units_of(starts) if all(ids[position] >= SPECIALS for position in unit)
    ]
    if not maskable:
        assert result is None
        return
    assert result is not None
    masked, targets = result
    positions = targets.positions.tolist()
    touched = [unit for unit in maskable if set(unit) & set(positions)]
    assert positions == [position for unit in touched for position in unit]
    assert positions
    assert targets.labels.tolist() == [ids[position] for position in positions]
    for position, (before, after) in enumerate(zip(ids, masked.tolist(), strict=True)):
        assert after == before if position not in positions else after == 3 or after >= SPECIALS


@settings(max_examples=20, deadline=None)
@given(TEXTS.filter(len), st.integers(0, 1000))
def test_the_same_rng_masks_the_same(text, seed):
    ids, starts = (np.array(column) for column in zip(*text, strict=True))
    first, second = (
        mask_units(
            ids, starts.astype(np.uint8), small_vocabulary(), 0.5, np.random.default_rng(seed)
        )
        for _ in range(2)
    )
    assert (first is None) == (second is None)
    if first and second:
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1].positions, second[1].positions)


@pytest.mark.parametrize("rate", [0.1, 0.15, 0.4])
def test_long_units_do_not_shift_the_rate(rate):
    # Units of 1 to 19 tokens: always or never to take the unit that crosses the budget would shift
    # the rate by points.
    layout = np.random.default_rng(0)
    rng = np.random.default_rng(1)
    predicted, tokens = 0, 0
    for _ in range(2000):
        lengths = layout.integers(1, 20, size=20)
        starts = np.zeros(lengths.sum(), dtype=np.uint8)
        starts[np.cumsum(lengths) - lengths] = 1
        result = mask_units(np.full(len(starts), 7), starts, small_vocabulary(), rate, rng)
        assert result is not None
        predicted += len(result[1].positions)
        tokens += len(starts)
    assert predicted / tokens == pytest.approx(rate, abs=0.005)


def test_every_token_is_masked_equally_often():
    # Units of one and of three tokens: neither place nor length makes a token likelier.
    starts = np.array([1, 1, 0, 0] * 10, dtype=np.uint8)
    rng = np.random.default_rng(2)
    counts = np.zeros(len(starts))
    draws = 4000
    for _ in range(draws):
        result = mask_units(np.full(len(starts), 7), starts, small_vocabulary(), 0.25, rng)
        assert result is not None
        counts[result[1].positions] += 1
    assert counts / draws == pytest.approx(
        np.full(len(starts), 0.25), abs=5 * (0.25 * 0.75 / draws) ** 0.5
    )


@pytest.mark.parametrize("seed", range(5))
def test_shortest_text_has_a_target(seed):
    result = mask_units(
        np.array([9]),
        np.array([0], dtype=np.uint8),
        small_vocabulary(),
        0.01,
        np.random.default_rng(seed),
    )
    assert result is not None
    assert result[1].positions.tolist() == [0]


def masked_windows(
    corpus: Corpus, epochs: int
) -> Iterator[tuple[AnnotatedText, IntArray, Targets]]:
    """Every window of 62 tokens of a corpus, masked a few times over."""
    text = corpus.split("train")
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        for first, end in zip(
            text.document_tokens[:-1].tolist(), text.document_tokens[1:].tolist(), strict=True
        ):
            for start in range(first, end, 62):
                window = text.passage(start, min(start + 62, end), corpus.profile.layers)
                units = knowledge_units(window, corpus.profile.spans)
                result = mask_units(window.token_ids, units, corpus.vocabulary, 0.15, rng)
                if result:
                    yield window, *result


@pytest.mark.parametrize("language", ["english", "chinese"])
def test_rate_and_replacement_of_real_text(language, request):
    corpus: Corpus = request.getfixturevalue(language)
    vocabulary = corpus.vocabulary
    parts = list(masked_windows(corpus, epochs=5 if language == "english" else 15))
    tokens = sum(len(window.token_ids) for window, _, _ in parts)
    labels = np.concatenate([targets.labels for _, _, targets in parts])
    shown = np.concatenate([masked[targets.positions] for _, masked, targets in parts])
    assert len(labels) / tokens == pytest.approx(0.15, abs=0.01)
    original = np.concatenate([window.token_ids[targets.positions] for window, _, targets in parts])
    np.testing.assert_array_equal(labels, original)
    assert not vocabulary.special[labels].any()

    # A random token is now and then the right one.
    chance = 0.1 / (vocabulary.size - vocabulary.special.sum())
    found = {
        "mask": (shown == vocabulary.mask_id, 0.8),
        "kept": (shown == labels, 0.1 + chance),
        "random": ((shown != vocabulary.mask_id) & (shown != labels), 0.1 - chance),
    }
    for name, (members, expected) in found.items():
        spread = (expected * (1 - expected) / len(labels)) ** 0.5
        assert members.mean() == pytest.approx(expected, abs=4 * spread), name
    assert not vocabulary.special[shown[found["random"][0]]].any()


def test_random_tokens_come_from_the_whole_vocabulary_but_the_special_ones():
    starts = np.ones(20_000, dtype=np.uint8)
    result = mask_units(
        np.full(20_000, 7), starts, small_vocabulary(), 0.5, np.random.default_rng(0)
    )
    assert result is not None
    counts = np.bincount(result[0], minlength=SIZE)
    drawn = [number for number in range(SIZE) if number not in (3, 7)]
    expected = 20_000 * 0.5 * 0.1 / (SIZE - SPECIALS)
    for number in drawn:
        assert counts[number] == pytest.approx(
            0 if number < SPECIALS else expected, abs=5 * expected**0.5 * (number >= SPECIALS)
        )
