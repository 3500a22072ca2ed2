"""TF-IDF: which tokens of this window does its document keep coming back to, where other documents do not?"""

from types import MappingProxyType

import numpy as np

from ernie_cmtl.data.assemble import assemble
from ernie_cmtl.data.terms import TERM_LAYERS, TermOptions, find_terms, windows_with_rest
from ernie_cmtl.records import AnnotatedText, Example, Targets
from ernie_cmtl.task import HeadSpec, PretrainTask, SampleIndex, TaskCorpus, TextLayout

_SCALE = 10


class TfIdf(PretrainTask):
    """A number from 0 (nowhere else in the document) to 10 (the weightiest term of the window) at each token of some weight."""

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
        return (HeadSpec("tf_idf", "token_regression"),)

    def index(self, layout: TextLayout, length: int) -> SampleIndex:
        """Windows of documents that have a rest."""
        return windows_with_rest(layout, length)

    def example(self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus) -> Example | None:
        """Label the terms of a window with ln(1 + count) idf, scaled so that the largest is 10."""
        terms = find_terms(self, text, corpus, self.options.minimum_idf)
        if not len(terms.places):
            return None
        weights = np.log1p(terms.counts) * terms.idf
        # Where no term comes again, all weights are 0.
        labels = _SCALE * weights / (weights.max() or 1.0)
        return assemble(self, [text], {"tf_idf": Targets(terms.places + 1, labels.astype(np.float32))})
