"""What the tokens of a window are to the rest of their document: how often they occur there, and
how telling they are.
"""

from abc import abstractmethod
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ernie_cmtl.data.sequences import assemble
from ernie_cmtl.data.windows import token_windows
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import AnnotatedText, Array, Example, IntArray, Targets
from ernie_cmtl.task import HeadSpec, PretrainTask, SampleIndex, TaskCorpus, TaskOptions, TextLayout

TERM_LAYERS = ("document_counts", "inverse_document_frequency")
_SPECIALS = 2


class TermOptions(TaskOptions):
    """Which tokens of a window are terms."""

    minimum_idf: float = Field(2.0, ge=0)
    """Minimum inverse document frequency of a term, in nats. 2 excludes tokens that occur in one of
    7.4 documents or more.
    """


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a window: its tokens without special ones and without those that stand in most
    documents anyway.
    """

    places: IntArray
    """Where they are in the window; int64 [N]."""
    counts: IntArray
    """How often each occurs in the rest of its document; int64 [N]."""
    idf: npt.NDArray[np.float64]
    """Their inverse document frequency in nats; float64 [N]."""
    rest: int
    """Tokens of the rest."""


def windows_with_rest(layout: TextLayout, length: int) -> SampleIndex:
    """Cut documents into windows for examples of `length` tokens; a document that is one window
    whole has no rest and gives none.

    Raises:
        UserError: No document is longer than a window.
    """
    windows = token_windows(layout, length - _SPECIALS, _SPECIALS)
    documents = np.searchsorted(layout.document_tokens, windows.starts, side="right") - 1
    found = np.flatnonzero(
        windows.stops - windows.starts < np.diff(layout.document_tokens)[documents]
    )
    if not len(found):
        raise UserError(
            f"no document is longer than a window of {length - _SPECIALS} tokens; maximum_length "
            "makes windows shorter"
        )
    return SampleIndex(windows.starts[found], windows.stops[found], windows.slots[found])


class TermTask(PretrainTask):
    """A task that says something of every term of a window; one of them has a head and the labels
    of its terms.
    """

    family = "lexical"
    known_leaks = MappingProxyType(
        {
            "token_identity": "how often a word comes again is a habit of the word",
            "neighbours": "words keep company: the one beside it tells part of the habit",
        }
    )
    Options = TermOptions
    options: TermOptions

    head: ClassVar[HeadSpec]
    """What it predicts at a term."""

    @abstractmethod
    def labels(self, terms: Terms) -> Array:
        """Return the labels of the terms of a window, of which there is at least one; int64 or
        float32 [N].
        """

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        """The one."""
        return (self.head,)

    @property
    def layers(self) -> tuple[str, ...]:
        """Counts in the document and in how many documents."""
        return TERM_LAYERS

    def index(self, layout: TextLayout, length: int) -> SampleIndex:
        """Windows of documents that have a rest."""
        return windows_with_rest(layout, length)

    def example(
        self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus
    ) -> Example | None:
        """Label the terms of a window."""
        terms = self._find(text, corpus)
        if not len(terms.places):
            return None
        return assemble(
            self, [text], {self.head.name: Targets(terms.places + 1, self.labels(terms))}
        )

    def _find(self, text: AnnotatedText, corpus: TaskCorpus) -> Terms:
        steps = text.layers["inverse_document_frequency"]
        idf = steps / self.profile.layer_options["inverse_document_frequency"]["steps"]
        places = np.flatnonzero(
            (idf >= self.options.minimum_idf) & ~self.vocabulary.special[text.token_ids]
        )
        in_window = np.bincount(text.token_ids)[text.token_ids[places]]
        counts = text.layers["document_counts"][places].astype(np.int64) - in_window
        first, end = corpus.document_tokens[
            (document := corpus.document_at(text.start)) : document + 2
        ]
        return Terms(places, counts, idf[places], int(end - first) - len(text.token_ids))
