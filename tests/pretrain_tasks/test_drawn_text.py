"""Labels derived again from texts that are drawn word by word: at least 500 examples a task, and
10,000 in the long sweeps.
"""

from collections import Counter
from collections.abc import Callable
from itertools import accumulate, pairwise, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.records import MASKED_TOKEN
from tests.support.drawn_text import Drawing, Sentence, draw_documents
from tests.support.places import segments_of

A_TEXT = 50
"""Examples that a drawn text gives at least, in the mean."""
FEW = 500
many_examples = pytest.mark.parametrize(
    "examples", [FEW, pytest.param(10_000, marks=pytest.mark.slow)]
)


def sweep(examples: int, check: Callable[[int, int], int]) -> None:
    """Check texts of drawn seeds at drawn row lengths; check: returns how many examples it looked
    at.
    """
    checked = 0

    # Few texts are the same every time, or now and then one order of 24 would not be among them.
    @settings(max_examples=examples // A_TEXT, deadline=None, derandomize=examples == FEW)
    @given(st.integers(0, 2**32 - 1), st.integers(24, 96))
    def holds(seed: int, length: int) -> None:
        nonlocal checked
        checked += check(seed, length)

    holds()
    assert checked >= examples


def words_of(documents: list[list[Sentence]]) -> list[str]:
    return [word for document in documents for sentence in document for word in sentence.words]


@many_examples
def test_each_word_is_labelled_with_the_case_that_it_was_drawn_in(
    english: Corpus, examples: int
) -> None:
    drawing = Drawing(english, "capitalization")

    def check(seed: int, length: int) -> int:
        documents = draw_documents(seed)
        words, labels = words_of(documents), []
        for word, pieces in zip(words, drawing.pieces(words), strict=True):
            labels += [
                int(word[0].isupper()) if word[0].isalpha() else None,
                *[None] * (len(pieces) - 1),
            ]
        tokens, stream = drawing.tokens(words), drawing.stream(documents, length, seed)
        for number in range(len(stream)):
            start, stop = stream.place(number)
            expected = {
                place: label
                for place, label in enumerate(labels[start:stop], 1)
                if label is not None
            }
            example = stream.example(number)
            if example is None:
                assert not expected
                continue
            assert example.token_ids[1:-1].tolist() == tokens[start:stop]
            found = example.targets["capital"]
            assert (
                dict(zip(found.positions.tolist(), found.labels.tolist(), strict=True)) == expected
            )
        return len(stream)

    sweep(examples, check)


@many_examples
def test_a_pair_is_labelled_with_the_marker_that_was_drawn_for_it(
    english: Corpus, examples: int
) -> None:
    drawing = Drawing(
        english, "discourse_relation", {"most_of_median": 1000}, ("discourse_markers",)
    )
    markers = english.profile.layer_options["discourse_markers"]["markers"]

    def check(seed: int, length: int) -> int:
        documents = draw_documents(seed, markers)
        expected = {}
        for first, second in (pair for document in documents for pair in pairwise(document)):
            before, after = (
                drawing.tokens(first.words),
                drawing.tokens(second.words[second.opening :]),
            )
            # What is shown has to fit: the marker is away.
            whole = len(before) + len(after) + 3
            if second.marker and whole <= 3 * length:
                expected[tuple(before), tuple(after)] = second.marker
        if not expected:
            return 0
        stream = drawing.stream(documents, 3 * length, seed)
        found = {}
        for number in range(len(stream)):
            example = stream.example(number)
            assert example is not None
            first, second = (tuple(segment.tolist()) for segment in segments_of(example)[0])
            found[first, second] = markers[int(example.targets["marker"].labels[0])]
        assert found == expected
        return len(found)

    sweep(examples, check)


@many_examples
@pytest.mark.parametrize("segments", [2, 3, 4])
def test_the_order_that_is_the_label_makes_the_drawn_text_again(
    english: Corpus, segments: int, examples: int
) -> None:
    drawing = Drawing(english, "sentence_reordering", {"segments": segments})
    seen = set()

    def check(seed: int, length: int) -> int:
        documents = draw_documents(seed)
        tokens = drawing.tokens(words_of(documents))
        borders = {
            0,
            *accumulate(
                len(drawing.tokens(sentence.words))
                for document in documents
                for sentence in document
            ),
        }
        # Room for as many sentences as there may be segments.
        stream = drawing.stream(documents, 60 * segments + length, seed)
        count = 3 * len(stream)
        for number in range(count):
            start, stop = stream.place(number)
            example = stream.example(number)
            assert example is not None
            parts = [part.tolist() for part in segments_of(example)[0]]
            shown = stream.instance.task.heads[0].class_names[
                int(example.targets["order"].labels[0])
            ]
            order = tuple(map(int, shown.split("-")))
            seen.add(order)
            assert len(order) == len(parts)
            ordered = [part for _, part in sorted(zip(order, parts, strict=True))]
            assert [token for part in ordered for token in part] == tokens[start:stop]
            assert {start, *accumulate((len(part) for part in ordered), initial=start)} <= borders
        return count

    sweep(examples, check)
    assert seen == {
        order for n in range(1, segments + 1) for order in permutations(range(1, n + 1))
    }


@many_examples
@pytest.mark.parametrize("units", ["knowledge", "word", "token"])
def test_masked_tokens_are_those_that_were_drawn_and_units_are_masked_whole(
    english: Corpus, units: str, examples: int
) -> None:
    masking = (
        {"units": units, "spans": ["capitalized_names"]}
        if units == "knowledge"
        else {"units": units}
    )
    drawing = Drawing(english, "knowledge_masking", {"masking": masking}, ("capitalized_names",))
    mask_id, kinds = english.vocabulary.mask_id, Counter[str]()

    def check(seed: int, length: int) -> int:
        documents = draw_documents(seed)
        tokens, unit_of = (
            drawing.tokens(words_of(documents)),
            drawn_units(drawing, documents, units),
        )
        stream = drawing.stream(documents, length, seed)
        for number in range(len(stream)):
            start, stop = stream.place(number)
            example = stream.example(number)
            assert example is not None
            targets, shown, window = (
                example.targets[MASKED_TOKEN],
                example.token_ids[1:-1].tolist(),
                tokens[start:stop],
            )
            places = (targets.positions - 1).tolist()
            assert targets.labels.tolist() == [window[place] for place in places]
            changed = [
                place
                for place, (one, other) in enumerate(zip(shown, window, strict=True))
                if one != other
            ]
            assert set(changed) <= set(places)
            of_window = unit_of[start:stop]
            masked = {of_window[place] for place in places}
            assert places == [place for place, unit in enumerate(of_window) if unit in masked]
            longest = max(Counter(of_window).values())
            assert abs(len(places) - 0.15 * len(window)) < longest or len(masked) == 1
            kinds.update(
                "mask" if shown[p] == mask_id else "same" if shown[p] == window[p] else "random"
                for p in places
            )
        return len(stream)

    sweep(examples, check)
    for kind, share in (("mask", 0.8), ("random", 0.1), ("same", 0.1)):
        assert (
            abs(kinds[kind] / kinds.total() - share)
            < 5 * (share * (1 - share) / kinds.total()) ** 0.5
        )


def drawn_units(drawing: Drawing, documents: list[list[Sentence]], units: str) -> list[int]:
    """The number of the unit that each token belongs to: a name, a word or the token alone."""
    found: list[int] = []
    for sentence in (sentence for document in documents for sentence in document):
        for place, pieces in enumerate(drawing.pieces(sentence.words)):
            goes_on = (
                units == "knowledge"
                and sentence.name is not None
                and sentence.name[0] < place < sentence.name[1]
            )
            for piece in range(len(pieces)):
                new = units == "token" or (piece == 0 and not goes_on)
                found.append((found[-1] if found else 0) + new)
    return found
