"""Samples with the text that they come from, and the coarse class of each token."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ernie_cmtl.records import Example, FloatArray, IntArray, Vocabulary
from ernie_cmtl.task import TaskCorpus

_SENTENCE_ENDS = frozenset(".!?。！？…；;")
"""Class of the tokens that end a sentence."""
SENTENCE_END = 1


@dataclass(frozen=True)
class Sample:
    """One example with the passage that it was made of."""

    number: int
    start: int
    stop: int
    example: Example


def token_classes(tokens: Sequence[str]) -> IntArray:
    """Return the class of each token: sentence end, punctuation, digit, capital, inner piece,
    ideograph, letter; int64 [N].
    """
    return np.array([_token_class(token) for token in tokens], dtype=np.int64)


def _token_class(token: str) -> int:
    bare = token.removeprefix("##")
    first = bare[:1]
    if first in _SENTENCE_ENDS:
        return SENTENCE_END
    category = unicodedata.category(first) if first else "Cn"
    if category[0] in "PS":
        return 2
    if category[0] == "N":
        return 3
    if category == "Lu":
        return 4
    if bare != token:
        return 5
    return 6 if category == "Lo" else 7


@dataclass(frozen=True)
class TextView:
    """Samples of one split, with what is known of their text."""

    samples: Sequence[Sample]
    corpus: TaskCorpus
    vocabulary: Vocabulary
    classes: IntArray
    """Token -> its class; int64 [vocabulary]."""

    @cached_property
    def passage_places(self) -> FloatArray:
        """Per sample: where the passage starts and ends in its document (0..1), and the document's
        length; [samples, 3].
        """
        starts = np.array([sample.start for sample in self.samples])
        stops = np.array([sample.stop for sample in self.samples])
        bounds = self.corpus.document_tokens
        document = np.searchsorted(bounds, starts, side="right") - 1
        length = bounds[document + 1] - bounds[document]
        return np.stack(
            [(starts - bounds[document]) / length, (stops - bounds[document]) / length, length],
            axis=1,
        )

    @cached_property
    def cut_sentences(self) -> IntArray:
        """Per sample: does the passage start and stop at a border of sentences; [samples, 2]."""
        places = np.array([(sample.start, sample.stop) for sample in self.samples])
        return np.isin(places, self.corpus.sentence_offsets).astype(np.int64)
