"""Does a token stand elsewhere in its document: looked up again in the source text."""

from pathlib import Path

import numpy as np
import pytest

from ernie_cmtl.config import TaskConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.run.instances import make_instance
from tests.support.corpora import build_corpus, sample_texts
from tests.support.terms import examples_with_terms, labels_of, open_stream

NAME, HEAD = "token_document_relation", "elsewhere"


def check(corpus: Corpus, lengths: tuple[int, ...], minimum_idf: float, least: int) -> None:
    examples = examples_with_terms(NAME, corpus, lengths, minimum_idf)
    assert len(examples) >= least
    for example, terms in examples:
        assert example.targets[HEAD].labels.tolist() == [int(term.count > 0) for term in terms]


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


def test_common_tokens_left_out_the_classes_are_balanced(english, chinese):
    for corpus, length in ((english, 64), (chinese, 24)):
        shares = [
            labels_of(examples_with_terms(NAME, corpus, (length,), limit), HEAD).mean()
            for limit in (0.0, 2.0)
        ]
        assert 0.2 < shares[1] < 0.8
        assert shares[0] > shares[1] + 0.1


def test_a_document_that_is_one_window_has_no_rest_and_gives_no_sample(tmp_path: Path) -> None:
    texts = ["A short one about bees.", *sample_texts("en", 6), "Another one about honey."]
    build_corpus(tmp_path, texts, heldout_fraction=0)
    corpus = Corpus(tmp_path / "corpus")
    split = corpus.split("train")
    stream = open_stream(NAME, corpus, 64)
    documents = {split.document_at(stream.place(number)[0]) for number in range(len(stream))}
    assert documents == {
        d for d in range(split.documents) if np.diff(split.document_tokens)[d] > 62
    }
    assert len(documents) < split.documents
    covered = sum(stop - start for start, stop in map(stream.place, range(len(stream))))
    assert covered == sum(np.diff(split.document_tokens)[list(documents)])


def test_a_corpus_of_short_documents_is_refused(tmp_path: Path) -> None:
    build_corpus(
        tmp_path,
        [f"Text {number} is short. It tells of bees." for number in range(8)],
        heldout_fraction=0,
    )
    with pytest.raises(
        UserError,
        match="no "
        "document is longer than a window of 62 tokens; maximum_length makes windows shorter",
    ):
        open_stream(NAME, Corpus(tmp_path / "corpus"), 64)
    assert len(open_stream(NAME, Corpus(tmp_path / "corpus"), 64, maximum_length=8))


def test_an_unknown_token_has_no_label(tmp_path: Path, english: Corpus) -> None:
    text = "The Ωμέγα is a letter. " * 4 + "And the Ψ too. " * 4
    build_corpus(
        tmp_path,
        [text, "The end is here."],
        tokenizer={"name_or_path": str(english.folder / "tokenizer")},
        heldout_fraction=0,
    )
    corpus = Corpus(tmp_path / "corpus")
    unknown = corpus.tokenizer.unk_token_id
    stream = open_stream(NAME, corpus, 16, minimum_idf=0)
    examples = [example for number in range(len(stream)) if (example := stream.example(number))]
    assert any((example.token_ids == unknown).any() for example in examples)
    for example in examples:
        labelled = np.flatnonzero(example.token_ids[1:-1] != unknown) + 1
        assert example.targets[HEAD].positions.tolist() == labelled.tolist()


def test_a_corpus_without_the_counts_is_refused_with_what_to_do(tmp_path: Path) -> None:
    build_corpus(tmp_path, sample_texts("en", 6), layers={})
    with pytest.raises(
        UserError,
        match=r"needs "
        r"layer "
        r"'document_counts'.*add "
        r"it "
        r"with "
        r"prepare "
        r"--corpus "
        r"DIR "
        r"--layers "
        r"document_counts",
    ):
        make_instance(NAME, 0, TaskConfig(), Corpus(tmp_path / "corpus"))
