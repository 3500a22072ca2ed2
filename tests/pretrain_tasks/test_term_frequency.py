"""How often a token stands in the rest of its document, counted again in the source text."""

from math import log

import numpy as np
import pytest

from ernie_cmtl.corpus.store.corpus import Corpus
from tests.support.terms import examples_with_terms, labels_of

NAME = HEAD = "term_frequency"


def check(corpus: Corpus, lengths: tuple[int, ...], minimum_idf: float, least: int) -> None:
    examples = examples_with_terms(NAME, corpus, lengths, minimum_idf)
    assert len(examples) >= least
    for example, terms in examples:
        expected = [10 * log(1 + term.count) / log(1 + term.rest) for term in terms]
        assert example.targets[HEAD].labels.dtype == np.float32
        assert example.targets[HEAD].labels.tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("language", "lengths"), [("english", (64,)), ("chinese", (24,))])
@pytest.mark.parametrize("minimum_idf", [2.0, 0.0])
def test_label_is_rederived_from_the_source_text(request, language, lengths, minimum_idf):
    check(request.getfixturevalue(language), lengths, minimum_idf, 500)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "lengths"), [("english", (8, 10, 12, 16, 64)), ("chinese", tuple(range(8, 33)))]
)
def test_label_of_ten_thousand_examples(request, language, lengths):
    check(request.getfixturevalue(language), lengths, 2.0, 10_000)


def test_labels_lie_between_0_and_10_and_many_are_more_than_0(english, chinese):
    for corpus, length in ((english, 64), (chinese, 24)):
        labels = labels_of(examples_with_terms(NAME, corpus, (length,)), HEAD)
        assert labels.min() == 0
        assert labels.max() <= 10
        assert 0.2 < (labels > 0).mean() < 0.8
        assert labels.std() > 0.5
