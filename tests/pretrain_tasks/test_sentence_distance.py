"""Adjacent, apart or of another document, found again in the text."""

import numpy as np
import pytest

from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from tests.support.places import (
    Finder,
    build,
    check_shares,
    leak,
    numbered_examples,
    open_stream,
    segments_of,
)

ADJACENT, APART, OTHER = range(3)


@pytest.mark.parametrize("count", [600, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("row_length", [64, 256])
def test_label_is_rederived_from_the_text(distinct, row_length, count):
    stream = open_stream("sentence_distance", distinct, row_length)
    finder = Finder(distinct.split("train"))
    made = numbered_examples(stream, count)
    labels, unclear = [], 0
    for number, example in made:
        first, second = segments_of(example)[0]
        label = int(example.targets["distance"].labels[0])
        labels.append(label)
        assert len(example.token_ids) <= stream.slot(number) <= row_length
        places = finder.place(first), finder.place(second)
        if None in places:
            unclear += 1
            continue
        ends = places[0] + len(first), places[1] + len(second)
        # The first segment is of the sample's own document.
        assert finder.document(places[0]) == finder.document(stream.place(number)[0])
        if finder.document(places[0]) != finder.document(places[1]):
            assert label == OTHER
        elif ends[0] == places[1] or ends[1] == places[0]:
            assert label == ADJACENT
            assert finder.border(max(places))
        else:
            assert label == APART
            between = min(ends), max(places)
            assert between[0] < between[1]
            # A whole sentence lies between.
            assert (
                (finder.split.sentence_offsets >= between[0])
                & (finder.split.sentence_offsets <= between[1])
            ).sum() > 1
    assert len(made) > 0.98 * count
    assert unclear < 0.1 * len(made)
    check_shares(labels, 3)


@pytest.mark.parametrize("count", [1500, pytest.param(3000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("language", ["english", "chinese", "distinct"])
@pytest.mark.parametrize("row_length", [128, 512])
def test_the_form_tells_nothing_of_the_class(language, row_length, count, request):
    corpus: Corpus = request.getfixturevalue(language)
    assert (
        leak(open_stream("sentence_distance", corpus, row_length), "distance", count) < 1 / 3 + 0.05
    )


def test_second_segments_of_one_document_stand_anywhere_in_it(many):
    """Early and late alike, be they adjacent or apart."""
    finder = Finder(many.split("train"))
    found: dict[int, list[float]] = {ADJACENT: [], APART: []}
    for _, example in numbered_examples(open_stream("sentence_distance", many, 512), 3000):
        second = segments_of(example)[0][1]
        label, place = int(example.targets["distance"].labels[0]), finder.place(second)
        if label in found and place is not None:
            start, end = finder.split.document_tokens[finder.document(place) :][:2]
            found[label].append((place + len(second) / 2 - start) / (end - start))
    for places in found.values():
        assert np.mean(places) == pytest.approx(0.5, abs=0.03)


def test_a_document_of_three_sentences_is_enough(tmp_path):
    made = numbered_examples(open_stream("sentence_distance", build(tmp_path, [3] * 30)), 300)
    assert len(made) > 280
    check_shares([int(example.targets["distance"].labels[0]) for _, example in made], 3)


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([40], "needs text of 2 documents; there is 1"),
        ([2] * 12, r"finds no sample: no document has 3 sentence\(s\)"),
    ],
)
def test_text_that_is_not_enough_is_refused(tmp_path, documents, message):
    with pytest.raises(UserError, match=f"'sentence_distance' {message}"):
        open_stream("sentence_distance", build(tmp_path, documents))
