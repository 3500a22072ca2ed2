"""Order of two segments, found again in the text."""

import pytest

from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.windows import sentence_windows
from ernie_cmtl.errors import UserError
from pretrain_tasks import sentence_order
from tests.support.places import (
    Finder,
    build,
    check_shares,
    leak,
    numbered_examples,
    open_stream,
    segments_of,
)


@pytest.mark.parametrize("count", [600, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("row_length", [64, 256])
def test_label_is_rederived_from_the_text(distinct, row_length, count):
    stream = open_stream("sentence_order", distinct, row_length)
    finder = Finder(distinct.split("train"))
    labels, unclear = [], 0
    for number, example in numbered_examples(stream, count):
        first, second = segments_of(example)[0]
        label = int(example.targets["order"].labels[0])
        labels.append(label)
        assert len(example.token_ids) == stream.slot(number) <= row_length
        places = finder.place(first), finder.place(second)
        if None in places:
            unclear += 1
            continue
        after_first, after_second = places[0] + len(first), places[1] + len(second)
        # One ends where the other begins, at a border of sentences; both are whole sentences of one
        # document.
        assert (after_second == places[0]) if label else (after_first == places[1])
        assert all(finder.border(token) for token in (*places, after_first, after_second))
        assert finder.document(places[0]) == finder.document(places[1])
    assert len(labels) == count
    assert unclear < 0.02 * count
    check_shares(labels, 2)


@pytest.mark.parametrize("language", ["english", "chinese"])
def test_the_form_tells_nothing_of_the_order(language, request):
    corpus: Corpus = request.getfixturevalue(language)
    assert leak(open_stream("sentence_order", corpus, 512), "order", 3000) < 1 / 2 + 0.05


def test_short_rows_do_not_tell_the_order_by_where_they_were_cut(many, monkeypatch):
    def best() -> float:
        return leak(open_stream("sentence_order", many, row_length=64), "order", 3000)

    assert best() < 1 / 2 + 0.05
    # Runs that are all cut from the beginning of their document begin with the sentence that was
    # too long for the last one.
    monkeypatch.setattr(sentence_order, "balanced_windows", sentence_windows)
    assert best() > 1 / 2 + 0.05


def test_documents_of_one_sentence_give_no_sample(tmp_path):
    with pytest.raises(
        UserError, match=r"'sentence_order' finds no sample: no document has 2 sentence\(s\)"
    ):
        open_stream("sentence_order", build(tmp_path, [1] * 12))
