"""Sentence distance: are two segments neighbours, apart in one document, or of different
documents?
"""

import numpy as np

from ernie_cmtl.data.passages import borders_beside, random_sentences
from ernie_cmtl.data.sequences import assemble
from ernie_cmtl.data.windows import even_windows
from ernie_cmtl.records import AnnotatedText, Example, Targets
from ernie_cmtl.task import HeadSpec, PretrainTask, SampleIndex, TaskCorpus, TextLayout

_SPECIALS = 3


class SentenceDistance(PretrainTask):
    """Three classes a sequence, one third each."""

    family = "syntactic"
    citation = "ERNIE 2.0, section 4.2.2"

    @property
    def minimum_documents(self) -> int:
        """The text's own and another one."""
        return 2

    @property
    def minimum_sentences(self) -> int:
        """Two segments and a sentence between them."""
        return 3

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        """One sequence head."""
        return (
            HeadSpec(
                "distance",
                "sequence_class",
                classes=3,
                class_names=("adjacent", "same document", "other document"),
            ),
        )

    def index(self, layout: TextLayout, length: int) -> SampleIndex:
        """Even windows: where one lies says which text is asked about, its size how long the
        segments are together.

        They are at most half of their document, so that most places have text enough on both sides.
        """
        windows = even_windows(layout, length - _SPECIALS, _SPECIALS, self.minimum_sentences)
        documents = layout.document_tokens.searchsorted(windows.starts, side="right") - 1
        halves = np.diff(layout.document_tokens)[documents] // 2
        return SampleIndex(
            windows.starts, windows.stops, np.minimum(windows.slots, halves + _SPECIALS)
        )

    def example(
        self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus
    ) -> Example | None:
        """Find a second segment of each class by one rule, all of one length, then draw the class;
        the first fills the room.
        """
        here, there, elsewhere = random_sentences(text, rng, corpus)
        # Where the place in the document comes later, second segments stand after their place, else
        # before it: so those of the first two classes are as often early or late in their document.
        after = there > here
        borders, beyond, before = borders_beside(corpus, np.array([here, there, elsewhere]), after)
        room = min(len(text.token_ids), int(before[0, 0] + beyond[0, 0]) // 2)
        # Below what any of the three documents has there, so that none of them ends a segment
        # early.
        sizes = np.minimum(beyond.min(axis=0), int(rng.integers((room + 3) // 4, room // 2 + 1)))
        good = (here != there) & (sizes > 0)
        full = good & (before[0] >= room - sizes)
        chosen = int((full if full.any() else good).argmax())
        if not good[chosen]:
            return None
        size = int(sizes[chosen])
        label, behind = int(rng.integers(3)), bool(after[chosen])
        first = _span(int(borders[0, chosen]), min(room - size, int(before[0, chosen])), not behind)
        second = _span(int(borders[label, chosen]), size, behind)
        segments = [corpus.passage(*span, tuple(text.layers)) for span in (first, second)]
        return assemble(
            self, segments, {"distance": Targets(np.zeros(1, dtype=np.int64), np.array([label]))}
        )


def _span(border: int, tokens: int, behind: bool) -> tuple[int, int]:
    """Return first and end of so many tokens behind a border, or before it."""
    return (border, border + tokens) if behind else (border - tokens, border)
