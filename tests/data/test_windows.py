"""Cutting text into samples."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_cmtl.data.windows import (
    FEWEST_TOKENS,
    balanced_windows,
    even_windows,
    sentence_windows,
    token_windows,
)
from ernie_cmtl.records import IntArray

# Documents of sentences of so many tokens.
DOCUMENTS = st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=8), min_size=1, max_size=8)


@dataclass(frozen=True)
class Layout:
    document_tokens: IntArray
    document_offsets: IntArray
    sentence_offsets: IntArray

    @property
    def documents(self) -> int:
        return len(self.document_offsets) - 1


def sums(values: list[int]) -> IntArray:
    return np.cumsum([0, *values], dtype=np.int64)


def lay_out(documents: list[list[int]]) -> Layout:
    sentences = [length for document in documents for length in document]
    return Layout(
        sums([sum(d) for d in documents]), sums([len(d) for d in documents]), sums(sentences)
    )


def windows_by_document(index, layout: Layout) -> list[list[tuple[int, int]]]:
    """The windows of each document, which proves that none crosses a border."""
    found: list[list[tuple[int, int]]] = [[] for _ in layout.document_tokens[1:]]
    for start, stop in zip(index.starts.tolist(), index.stops.tolist(), strict=True):
        document = int(np.searchsorted(layout.document_tokens, start, side="right")) - 1
        assert (
            layout.document_tokens[document] <= start < stop <= layout.document_tokens[document + 1]
        )
        found[document].append((start, stop))
    return found


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS, st.integers(1, 30), st.integers(0, 4))
def test_token_windows_tile_every_document(documents, tokens, specials):
    layout = lay_out(documents)
    index = token_windows(layout, tokens, specials)
    for document, windows in enumerate(windows_by_document(index, layout)):
        covered = [token for start, stop in windows for token in range(start, stop)]
        assert covered == list(
            range(layout.document_tokens[document], layout.document_tokens[document + 1])
        )
        assert all(stop - start == tokens for start, stop in windows[:-1])
        assert windows[-1][1] - windows[-1][0] <= tokens
    assert (index.slots >= index.stops - index.starts + specials).all()
    assert index.slots.max() <= tokens + specials


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS, st.integers(1, 30), st.integers(0, 4), st.integers(1, 4))
def test_sentence_windows_are_the_longest_runs_of_whole_sentences(
    documents, tokens, specials, minimum
):
    layout = lay_out(documents)
    index = sentence_windows(layout, tokens, specials, minimum)
    for document, windows in enumerate(windows_by_document(index, layout)):
        # Take sentences one by one, as long as they fit; what does not fit begins the next run.
        runs: list[list[int]] = []
        for sentence, length in enumerate(documents[document]):
            if not runs or sum(documents[document][s] for s in runs[-1]) + length > tokens:
                runs.append([])
            runs[-1].append(sentence)
        borders = sums(documents[document]) + layout.document_tokens[document]
        fitting = [
            run
            for run in runs
            if sum(documents[document][s] for s in run) <= tokens and len(run) >= minimum
        ]
        assert windows == [(borders[run[0]], borders[run[-1] + 1]) for run in fitting]
    assert (index.slots >= index.stops - index.starts + specials).all()
    assert not len(index) or index.slots.max() <= tokens + specials


def test_sentence_longer_than_a_window_is_stepped_over():
    index = sentence_windows(
        lay_out([[4, 50, 3, 4, 2, 9]]), tokens=10, specials=2, minimum_sentences=2
    )
    assert (index.starts.tolist(), index.stops.tolist(), index.slots.tolist()) == ([54], [63], [11])


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS, st.integers(0, 30), st.integers(0, 4), st.integers(1, 4))
def test_even_windows_share_a_document_out(documents, tokens, specials, minimum):
    layout = lay_out(documents)
    index = even_windows(layout, tokens, specials, minimum)
    for document, windows in enumerate(windows_by_document(index, layout)):
        length, there = sum(documents[document]), len(documents[document])
        if there < minimum or length < FEWEST_TOKENS or tokens < FEWEST_TOKENS:
            assert not windows
            continue
        sizes = [stop - start for start, stop in windows]
        assert [token for start, stop in windows for token in range(start, stop)] == list(
            range(layout.document_tokens[document], layout.document_tokens[document + 1])
        )
        assert max(sizes) <= tokens
        assert max(sizes) - min(sizes) <= 1
        assert len(sizes) == -(-length // tokens)
    np.testing.assert_array_equal(index.slots, index.stops - index.starts + specials)


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS, st.integers(1, 30), st.integers(1, 4))
def test_balanced_windows_go_through_a_document_from_one_of_its_ends(documents, tokens, minimum):
    layout = lay_out(documents)
    mirrored = lay_out([document[::-1] for document in documents])
    ahead, back = (
        windows_by_document(sentence_windows(text, tokens, 3, minimum), text)
        for text in (layout, mirrored)
    )
    for document, windows in enumerate(
        windows_by_document(balanced_windows(layout, tokens, 3, minimum), layout)
    ):
        ends = layout.document_tokens[document] + layout.document_tokens[document + 1]
        assert windows in (
            ahead[document],
            [(ends - stop, ends - start) for start, stop in back[document][::-1]],
        )


def test_the_sides_of_balanced_windows_are_alike():
    rng = np.random.default_rng(1)
    layout = lay_out([rng.integers(2, 40, 60).tolist() for _ in range(300)])

    def sides(index) -> float:
        """Mean tokens of the first sentence over those of the last."""
        first = np.searchsorted(layout.sentence_offsets, index.starts)
        last = np.searchsorted(layout.sentence_offsets, index.stops) - 1
        lengths = np.diff(layout.sentence_offsets)
        return float(lengths[first].mean() / lengths[last].mean())

    assert sides(balanced_windows(layout, 80, 3, 2)) == pytest.approx(1, abs=0.03)
    assert sides(sentence_windows(layout, 80, 3, 2)) > 1.2


def test_index_without_samples_is_empty():
    index = sentence_windows(lay_out([[5], [5]]), tokens=20, specials=3, minimum_sentences=2)
    assert len(index) == 0
    assert len(index.slots) == 0
