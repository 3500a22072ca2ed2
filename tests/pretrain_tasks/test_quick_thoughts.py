"""The sentence that follows, found again in the text."""

from typing import Any

import numpy as np
import pytest

from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Example
from tests.support.places import (
    Finder,
    build,
    check_shares,
    numbered_examples,
    open_stream,
    segments_of,
)


def label_of(example: Example) -> int:
    return int(example.targets["following"].labels[0])


@pytest.mark.parametrize("count", [600, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("row_length", "candidates"), [(128, 3), (256, 2), (512, 5)])
def test_label_is_rederived_from_the_text(distinct, row_length, candidates, count):
    stream = open_stream("quick_thoughts", distinct, row_length, candidates=candidates)
    finder = Finder(distinct.split("train"))
    made = numbered_examples(stream, count)
    labels, unclear = [], 0
    for number, example in made:
        sequences = segments_of(example)
        label = label_of(example)
        labels.append(label)
        assert len(example.token_ids) <= stream.slot(number) <= row_length
        firsts = np.cumsum([0, *example.sequence_lengths])[:-1]
        assert example.targets["following"].positions.tolist() == [firsts.tolist()]
        contexts = {tuple(context.tolist()) for context, _ in sequences}
        assert len(contexts) == 1
        context = finder.place(sequences[0][0])
        places = [finder.place(candidate) for _, candidate in sequences]
        if context is None or None in places:
            unclear += 1
            continue
        end = context + len(sequences[0][0])
        assert [place == end for place in places] == [
            choice == label for choice in range(candidates)
        ]
        # All begin with a sentence that another one stands before; one is of the same document, and
        # not in the context.
        assert all(finder.border(place) for place in places)
        assert not set(places) & set(finder.split.document_tokens.tolist())
        own = [place for place in places if finder.document(place) == finder.document(context)]
        assert len(own) == 2
        assert not any(context <= place < end for place in own)
    assert len(made) > 0.95 * count
    assert unclear < 0.25 * len(made)
    check_shares(labels, candidates)


def guesses(stream: SampleStream, count: int) -> dict[str, float]:
    """Accuracy of choosing the longest candidate, the shortest, and those with the most or fewest
    sentence ends.
    """
    finder = Finder(stream.corpus)
    hits: dict[str, list[float]] = {"longest": [], "shortest": [], "whole": [], "cut": []}
    for _, example in numbered_examples(stream, count):
        candidates = [candidate for _, candidate in segments_of(example)]
        lengths = np.array([len(candidate) for candidate in candidates])
        whole = np.array(
            [bool(np.isin(candidate[-1], finder.sentence_ends)) for candidate in candidates]
        )
        for rule, best in {
            "longest": lengths == lengths.max(),
            "shortest": lengths == lengths.min(),
            "whole": whole == whole.max(),
            "cut": whole == whole.min(),
        }.items():
            hits[rule].append(best[label_of(example)] / best.sum())
    return {rule: float(np.mean(values)) for rule, values in hits.items()}


@pytest.mark.parametrize("count", [1500, pytest.param(3000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("language", ["english", "chinese", "distinct"])
@pytest.mark.parametrize("row_length", [128, 512])
def test_the_form_tells_nothing_of_the_choice(language, row_length, count, request):
    corpus: Corpus = request.getfixturevalue(language)
    for rule, accuracy in guesses(open_stream("quick_thoughts", corpus, row_length), count).items():
        assert accuracy < 1 / 3 + 0.05, rule


def test_every_sample_has_a_sentence_that_follows(distinct):
    split, index = distinct.split("train"), open_stream("quick_thoughts", distinct, 64).index
    document = np.searchsorted(split.document_tokens, index.starts, side="right") - 1
    last_sentence = split.sentence_offsets[split.document_offsets[document + 1] - 1]
    assert (index.starts < last_sentence).all()


def test_two_candidates_need_no_other_document(tmp_path):
    stream = open_stream("quick_thoughts", build(tmp_path, [40]), candidates=2)
    made = numbered_examples(stream, 200)
    assert len(made) > 180
    check_shares([label_of(example) for _, example in made], 2)


@pytest.mark.parametrize(
    ("documents", "options", "message"),
    [
        ([40], {}, "'quick_thoughts' needs text of 2 documents; there is 1"),
        ([2] * 12, {}, r"'quick_thoughts' finds no sample: no document has 3 sentence\(s\)"),
        ([5] * 12, {"candidates": 1}, "tasks.quick_thoughts: candidates: .*got 1"),
        ([5] * 12, {"candidates": 9}, "tasks.quick_thoughts: candidates: .*got 9"),
    ],
)
def test_what_cannot_work_is_refused(
    tmp_path, documents: list[int], options: dict[str, Any], message: str
):
    with pytest.raises(UserError, match=message):
        open_stream("quick_thoughts", build(tmp_path, documents), **options)
