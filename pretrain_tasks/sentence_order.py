"""Sentence order: two consecutive segments; do they stand in their order?"""

from types import MappingProxyType

import numpy as np

from ernie_cmtl.data.sequences import assemble
from ernie_cmtl.data.windows import balanced_windows
from ernie_cmtl.records import AnnotatedText, Example, Targets
from ernie_cmtl.task import HeadSpec, PretrainTask, SampleIndex, TaskCorpus, TextLayout

_SPECIALS = 3


class SentenceOrder(PretrainTask):
    """Two classes a sequence."""

    family = "syntactic"
    citation = "ALBERT, section 3.1"
    known_leaks = MappingProxyType(
        {"edge_tokens": "some words open a passage and others go on with it"}
    )

    @property
    def minimum_sentences(self) -> int:
        """One for each segment."""
        return 2

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        """One sequence head."""
        return (HeadSpec("order", "sequence_class", classes=2, class_names=("kept", "swapped")),)

    def index(self, layout: TextLayout, length: int) -> SampleIndex:
        """Runs of whole sentences."""
        return balanced_windows(layout, length - _SPECIALS, _SPECIALS, self.minimum_sentences)

    def example(
        self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus
    ) -> Example | None:
        """Cut at any border of sentences; swap every other time."""
        cut = int(rng.integers(1, text.sentences))
        segments = [text.sentence_range(0, cut), text.sentence_range(cut, text.sentences)]
        swapped = int(rng.integers(2))
        targets = {"order": Targets(np.zeros(1, dtype=np.int64), np.array([swapped]))}
        return assemble(self, segments[::-1] if swapped else segments, targets)
