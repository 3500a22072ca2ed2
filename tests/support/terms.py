"""The terms of a window, found again in the source text: what the tests of the three tasks of term
counts share.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from math import log

import numpy as np

from ernie_cmtl.config import TaskConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.records import Example
from ernie_cmtl.run.instances import make_instance
from tests.support.corpora import sample_texts


@dataclass
class Term:
    """A token that should have a label."""

    place: int
    """In the example, [CLS] at 0."""
    count: int
    """In the document outside of the window."""
    idf: float
    rest: int
    """Tokens of the document outside of the window."""


class SourceTexts:
    """The training documents of a sample corpus, tokenized again from their source text."""

    def __init__(self, corpus: Corpus) -> None:
        split = corpus.split("train")
        edges = split.document_tokens.tolist()
        stored = {tuple(split.passage(a, b, ()).token_ids.tolist()) for a, b in pairwise(edges)}
        in_text = [
            corpus.tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in sample_texts(corpus.language)
        ]
        self.documents = [tokens for tokens in in_text if tuple(tokens) in stored]
        assert len(self.documents) == split.documents
        self.specials = set(corpus.tokenizer.all_special_ids)
        holding = Counter(token for tokens in self.documents for token in set(tokens))
        # The layer keeps twelfths of a nat.
        total = len(self.documents)
        self.idf = {
            token: round(12 * log((1 + total) / (1 + count))) / 12
            for token, count in holding.items()
        }

    def terms(
        self, start: int, stop: int, example_tokens: list[int], minimum_idf: float
    ) -> list[Term]:
        """Return what should be labelled in the window start:stop of the training text."""
        first = 0
        for tokens in self.documents:
            if start < first + len(tokens):
                break
            first += len(tokens)
        window = tokens[start - first : stop - first]
        assert example_tokens[1:-1] == window
        outside = tokens[: start - first] + tokens[stop - first :]
        assert outside
        counts = Counter(outside)
        return [
            Term(place, counts[token], self.idf[token], len(outside))
            for place, token in enumerate(window, start=1)
            if token not in self.specials and self.idf[token] >= minimum_idf
        ]


def open_stream(name: str, corpus: Corpus, length: int, **options: float) -> SampleStream:
    instance = make_instance(name, 0, TaskConfig.model_validate(options), corpus)
    return SampleStream(instance, corpus.split("train"), length, seed=1)


def examples_with_terms(
    name: str, corpus: Corpus, lengths: tuple[int, ...], minimum_idf: float = 2.0
) -> list[tuple[Example, list[Term]]]:
    """Return every example of a sample corpus at some lengths, with the terms that it should
    have.
    """
    source = SourceTexts(corpus)
    found = []
    for length in lengths:
        stream = open_stream(name, corpus, length, minimum_idf=minimum_idf)
        for number in range(len(stream)):
            start, stop = stream.place(number)
            example = stream.example(number)
            if example is None:
                window = stream.corpus.passage(start, stop, ()).token_ids.tolist()
                assert not source.terms(start, stop, [0, *window, 0], minimum_idf)
            else:
                terms = source.terms(start, stop, example.token_ids.tolist(), minimum_idf)
                (targets,) = example.targets.values()
                assert targets.positions.tolist() == [term.place for term in terms]
                found.append((example, terms))
    return found


def labels_of(examples: list[tuple[Example, list[Term]]], head: str) -> np.ndarray:
    return np.concatenate([example.targets[head].labels for example, _ in examples])
