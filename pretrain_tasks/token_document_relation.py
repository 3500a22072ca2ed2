"""Token and document: does a token of this window stand elsewhere in its document too? Telling tokens do, and common ones."""

from types import MappingProxyType

import numpy as np

from ernie_cmtl.data.assemble import assemble
from ernie_cmtl.data.terms import TERM_LAYERS, TermOptions, find_terms, windows_with_rest
from ernie_cmtl.records import AnnotatedText, Example, Targets
from ernie_cmtl.task import HeadSpec, PretrainTask, SampleIndex, TaskCorpus, TextLayout


class TokenDocumentRelation(PretrainTask):
    """Two classes at each token that does not stand in most documents anyway."""

    family = "lexical"
    source = "ERNIE 2.0, section 4.2.1"
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
        """One token head."""
        return (HeadSpec("elsewhere", "token_class", classes=2, class_names=("here alone", "elsewhere too")),)

    def index(self, layout: TextLayout, length: int) -> SampleIndex:
        """Windows of documents that have a rest."""
        return windows_with_rest(layout, length)

    def example(self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus) -> Example | None:
        """Label the terms of a window."""
        terms = find_terms(self, text, corpus, self.options.minimum_idf)
        if not len(terms.places):
            return None
        return assemble(self, [text], {"elsewhere": Targets(terms.places + 1, (terms.counts > 0).astype(np.int64))})
