"""Adjacent sentence: is the second segment the one before the first, the one after it, or one of
another document?
"""

from types import MappingProxyType

import numpy as np

from ernie_cmtl.data.passages import run_like
from ernie_cmtl.data.sequences import assemble
from ernie_cmtl.data.windows import balanced_windows
from ernie_cmtl.records import AnnotatedText, Example, Targets
from ernie_cmtl.task import HeadSpec, PretrainTask, SampleIndex, TaskCorpus, TextLayout

_SPECIALS = 3
_OTHER = 2


class AdjacentSentence(PretrainTask):
    """Three classes a sequence, one third each."""

    family = "syntactic"
    citation = "StructBERT; Aroca-Ouellette and Rudzicz 2020"
    known_leaks = MappingProxyType(
        {"edge_tokens": "some words open a passage and others go on with it"}
    )

    @property
    def minimum_documents(self) -> int:
        """The text's own and another one."""
        return 2

    @property
    def minimum_sentences(self) -> int:
        """One for each segment."""
        return 2

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        """One sequence head."""
        return (
            HeadSpec(
                "second",
                "sequence_class",
                classes=3,
                class_names=("previous", "next", "other document"),
            ),
        )

    def index(self, layout: TextLayout, length: int) -> SampleIndex:
        """Runs of whole sentences."""
        return balanced_windows(layout, length - _SPECIALS, _SPECIALS, self.minimum_sentences)

    def example(
        self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus
    ) -> Example | None:
        """Cut at any border; either part may stand second, and every third time a run like it
        stands for it.

        Where there is no such run the sample is left out, whatever its class would be.
        """
        cut = int(rng.integers(1, text.sentences))
        parts = [text.sentence_range(0, cut), text.sentence_range(cut, text.sentences)]
        side = int(rng.integers(2))
        second = parts[side]
        other = run_like(second, side == 0, rng, corpus)
        if other is None:
            return None
        label = side
        if rng.integers(3) == 0:
            label, second = _OTHER, corpus.passage(*other, tuple(text.layers))
        return assemble(
            self,
            [parts[1 - side], second],
            {"second": Targets(np.zeros(1, dtype=np.int64), np.array([label]))},
        )
