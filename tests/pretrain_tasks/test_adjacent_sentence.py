"""Previous, next or of another document, found again in the text."""

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

PREVIOUS, NEXT, OTHER = range(3)


@pytest.mark.parametrize("count", [600, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("row_length", [64, 256])
def test_label_is_rederived_from_the_text(distinct, row_length, count):
    stream = open_stream("adjacent_sentence", distinct, row_length)
    finder = Finder(distinct.split("train"))
    made = numbered_examples(stream, count)
    labels, unclear = [], 0
    for number, example in made:
        first, second = segments_of(example)[0]
        label = int(example.targets["second"].labels[0])
        labels.append(label)
        assert len(example.token_ids) <= stream.slot(number) <= row_length
        places = finder.place(first), finder.place(second)
        if None in places:
            unclear += 1
            continue
        ends = places[0] + len(first), places[1] + len(second)
        assert all(finder.border(token) for token in (*places, *ends))
        if finder.document(places[0]) != finder.document(places[1]):
            assert label == OTHER
        else:
            assert {PREVIOUS: ends[1] == places[0], NEXT: ends[0] == places[1], OTHER: False}[label]
    assert len(made) > 0.9 * count
    assert unclear < 0.02 * len(made)
    check_shares(labels, 3)


def test_text_of_another_document_is_like_the_one_that_it_stands_for(distinct):
    """As many sentences, nearly as many tokens, at the edge of its document about as often."""
    stream = open_stream("adjacent_sentence", distinct)
    finder = Finder(distinct.split("train"))
    lacking, tokens, others = 0, 0, 0
    for number, example in numbered_examples(stream, 1500):
        if example.targets["second"].labels[0] != OTHER:
            continue
        first, second = segments_of(example)[0]
        own = stream.corpus.passage(*stream.place(number), ())
        place = finder.place(second)
        if place is None:
            continue
        replaced = len(own.token_ids) - len(first)
        assert replaced - replaced // 8 <= len(second) <= replaced
        assert (
            finder.sentences(finder.place(first) or own.start, len(first))
            + finder.sentences(place, len(second))
            == own.sentences
        )
        lacking, tokens, others = lacking + replaced - len(second), tokens + replaced, others + 1
        # As it could be next to something, its document goes on at one of its sides.
        bounds = stream.corpus.document_tokens[finder.document(place) :][:2]
        assert (place, place + len(second)) != tuple(bounds)
    assert others > 400
    assert lacking / tokens < 0.03


@pytest.mark.parametrize("language", ["english", "chinese"])
@pytest.mark.parametrize("row_length", [128, 512])
def test_the_form_tells_nothing_of_the_class(language, row_length, request):
    corpus: Corpus = request.getfixturevalue(language)
    assert leak(open_stream("adjacent_sentence", corpus, row_length), "second", 3000) < 1 / 3 + 0.05


def test_what_begins_or_ends_a_document_is_replaced_by_what_does(tmp_path):
    """Documents that are one sample each: the part that stands second begins or ends its document
    in all classes.
    """
    corpus = build(tmp_path, [6] * 300)
    finder = Finder(corpus.split("train"))
    at_edge = []
    for _, example in numbered_examples(open_stream("adjacent_sentence", corpus, 256), 400):
        place = finder.place(second := segments_of(example)[0][1])
        if example.targets["second"].labels[0] == OTHER and place is not None:
            bounds = finder.split.document_tokens[finder.document(place) :][:2]
            at_edge.append(place == bounds[0] or place + len(second) == bounds[1])
    assert len(at_edge) > 80
    assert np.mean(at_edge) > 0.9


def test_a_single_document_is_refused(tmp_path):
    with pytest.raises(
        UserError, match="'adjacent_sentence' needs text of 2 documents; there is 1"
    ):
        open_stream("adjacent_sentence", build(tmp_path, [40]))
