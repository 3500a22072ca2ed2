"""Sentence distance: are two segments neighbours, apart in one document, or of different documents?"""

import numpy as np

from ernie_cmtl.data.assemble import assemble
from ernie_cmtl.data.passages import neighbours, random_sentences, shortened, text_beside
from ernie_cmtl.data.windows import even_windows
from ernie_cmtl.records import AnnotatedText, Example, Targets
from ernie_cmtl.task import HeadSpec, PretrainTask, SampleIndex, TaskCorpus, TextLayout

_SPECIALS = 3


class SentenceDistance(PretrainTask):
    """Three classes a sequence, one third each."""

    family = "syntactic"
    source = "ERNIE 2.0, section 4.2.2"

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
        return (HeadSpec("distance", "sequence_class", classes=3, class_names=("adjacent", "same document", "other document")),)

    def index(self, layout: TextLayout, length: int) -> SampleIndex:
        """Even windows: where one lies says which text is asked about, its size how long the segments are together."""
        return even_windows(layout, length - _SPECIALS, _SPECIALS, self.minimum_sentences)

    def example(self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus) -> Example | None:
        """Find a second segment of each class by one rule, then draw the class; the first one fills the room that all leave."""
        places = self._places(text, rng, corpus)
        if places is None:
            return None
        after = places[1] > places[0]
        beside = [text_beside(corpus, place, after) for place in places]
        room = len(text.token_ids)
        # Below what any of the three documents has there, so that none of them ends a segment early.
        most = min(room // 2, *(stop - start for start, stop in beside))
        budget = int(rng.integers((most + 1) // 2, most + 1))
        seconds = [shortened(corpus, span, after, budget) for span in beside]
        rest = room - max(stop - start for start, stop in seconds)
        start, stop = text_beside(corpus, places[0] + (1 if after else -1), not after)
        first = (max(start, stop - rest), stop) if after else (start, min(stop, start + rest))
        label = int(rng.integers(3))
        segments = [corpus.passage(*span, tuple(text.layers)) for span in (first, seconds[label])]
        return assemble(self, segments, {"distance": Targets(np.zeros(1, dtype=np.int64), np.array([label]))})

    def _places(self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus) -> tuple[int, int, int] | None:
        """Draw the sentences that the second segment would stand beside: in the sample, its document, another document.

        Where the place in the document comes later, second segments stand after their place, else before it: so those of
        the first two classes are as often early or late in their document.
        """
        here, there, elsewhere = random_sentences(text, rng, corpus)
        later = there > here
        good = np.flatnonzero(
            (there != here) & np.where(later, neighbours(corpus, there, True), neighbours(corpus, there, False))
        )
        if not len(good):
            return None
        chosen = good[0]
        elsewhere = elsewhere[neighbours(corpus, elsewhere, bool(later[chosen]))]
        return (int(here[chosen]), int(there[chosen]), int(elsewhere[0])) if len(elsewhere) else None
