"""Term frequency: how often does a token of this window stand in the rest of its document?"""

from types import MappingProxyType

import numpy as np

from ernie_cmtl.data.assemble import assemble
from ernie_cmtl.data.terms import TERM_LAYERS, TermOptions, find_terms, windows_with_rest
from ernie_cmtl.records import AnnotatedText, Example, Targets
from ernie_cmtl.task import HeadSpec, PretrainTask, SampleIndex, TaskCorpus, TextLayout

_SCALE = 10


class TermFrequency(PretrainTask):
    """A number from 0 (nowhere else) to 10 (the rest is this token alone) at each token of some weight."""

    family = "lexical"
    source = "Aroca-Ouellette and Rudzicz 2020"
    known_leaks = MappingProxyType(
        {
            "token_identity": "how often a word comes again is a habit of the word",
            "neighbours": "words keep company: the one beside it tells part of the habit",
        }
    )
    Options = TermOptions
    options: TermOptions

    @property
    def layers(self) -> tuple[str, ...]:
        """Counts in the document and in how many documents."""
        return TERM_LAYERS

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        """One number a token."""
        return (HeadSpec("term_frequency", "token_regression"),)

    def index(self, layout: TextLayout, length: int) -> SampleIndex:
        """Windows of documents that have a rest."""
        return windows_with_rest(layout, length)

    def example(self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus) -> Example | None:
        """Label the terms of a window with 10 ln(1 + count) / ln(1 + tokens of the rest)."""
        terms = find_terms(self, text, corpus, self.options.minimum_idf)
        if not len(terms.places):
            return None
        labels = _SCALE * np.log1p(terms.counts) / np.log1p(terms.rest)
        return assemble(self, [text], {"term_frequency": Targets(terms.places + 1, labels.astype(np.float32))})
