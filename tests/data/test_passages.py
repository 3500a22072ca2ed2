"""Choosing text beyond a sample."""

import numpy as np
import pytest

from ernie_cmtl.data.passages import borders_beside, random_sentences, run_like, text_beside
from tests.support.places import build


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return build(tmp_path_factory.mktemp("passages"), [1, 200, 1, *range(2, 14), 7]).split("train")


def document_of(split, sentence: int) -> int:
    return next(
        d
        for d in range(split.documents)
        if split.document_offsets[d] <= sentence < split.document_offsets[d + 1]
    )


def test_random_sentences_are_of_sample_document_and_other_documents(split):
    longest = int(np.diff(split.document_tokens).argmax())
    for document in (0, longest, split.documents - 1):
        first, end = split.document_tokens[document : document + 2].tolist()
        text = split.passage((first + end) // 2, end, ())
        drawn = [random_sentences(text, np.random.default_rng(seed), split) for seed in range(2000)]
        here, there, elsewhere = (
            set(np.concatenate(part).tolist()) for part in zip(*drawn, strict=True)
        )
        own = set(range(split.document_offsets[document], split.document_offsets[document + 1]))
        assert here == {s for s in own if split.sentence_offsets[s + 1] > text.start}
        assert there == own
        assert elsewhere == set(range(len(split.sentence_offsets) - 1)) - own


def test_borders_and_text_beside_stay_in_the_document(split):
    numbers = np.arange(len(split.sentence_offsets) - 1)
    for after in (True, False):
        borders, beyond, others = borders_beside(
            split, numbers.reshape(1, -1), np.full(len(numbers), after)
        )
        assert borders.shape == beyond.shape == others.shape == (1, len(numbers))
        for sentence in numbers:
            document = document_of(split, sentence)
            first, end = split.document_offsets[document : document + 2].tolist()
            start, stop = split.sentence_offsets[
                [sentence + 1, end] if after else [first, sentence]
            ].tolist()
            assert text_beside(split, sentence, after) == (start, stop)
            assert borders[0, sentence] == (start if after else stop)
            assert beyond[0, sentence] == stop - start
            assert (
                beyond[0, sentence] + others[0, sentence]
                == np.diff(split.document_tokens)[document]
            )


@pytest.mark.parametrize("before", [True, False])
def test_a_run_like_one_is_of_another_document_and_has_a_neighbour(split, before):
    offsets, longest = split.sentence_offsets, 1
    first, end = split.document_offsets[longest : longest + 2].tolist()
    found = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        start = int(rng.integers(first, end - 3))
        run = split.passage(*offsets[[start, start + 1 + seed % 3]].tolist(), ())
        span = run_like(run, before, rng, split)
        if span is None:
            continue
        found += 1
        sentences = np.searchsorted(offsets, span)
        assert offsets[sentences].tolist() == list(span)
        assert sentences[1] - sentences[0] == run.sentences
        assert 0 <= len(run.token_ids) - (span[1] - span[0]) <= len(run.token_ids) // 8
        document = document_of(split, int(sentences[0]))
        assert document != longest
        assert document == document_of(split, int(sentences[1]) - 1)
        next_to = sentences[1] if before else sentences[0] - 1
        assert document == document_of(split, int(next_to))
    assert found > 200
