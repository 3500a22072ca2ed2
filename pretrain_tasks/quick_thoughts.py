"""Quick thoughts: which of a few sentences follows the context?"""

from types import MappingProxyType

import numpy as np
from pydantic import Field

from ernie_cmtl.data.passages import borders_beside, random_sentences, text_beside
from ernie_cmtl.data.sequences import assemble, join
from ernie_cmtl.data.windows import even_windows
from ernie_cmtl.records import AnnotatedText, Example, Targets
from ernie_cmtl.task import HeadSpec, PretrainTask, SampleIndex, TaskCorpus, TaskOptions, TextLayout

_SPECIALS = 3


class QuickThoughtsOptions(TaskOptions):
    """How many sentences there are to choose from."""

    candidates: int = Field(3, ge=2, le=8)
    """Number of candidates: the one that follows, one from elsewhere in the document, the others
    from other documents.
    """


class QuickThoughts(PretrainTask):
    """One choice an example; each candidate has a sequence of its own, with the context before
    it.
    """

    family = "semantic"
    citation = "Logeswaran and Lee 2018; variant of Aroca-Ouellette and Rudzicz 2020"
    known_leaks = MappingProxyType({"bag_of_words": "sentences that follow each other share words"})
    Options = QuickThoughtsOptions
    options: QuickThoughtsOptions

    @property
    def minimum_documents(self) -> int:
        """Two, unless the only wrong candidate is of the same document."""
        return min(2, self.options.candidates - 1)

    @property
    def minimum_sentences(self) -> int:
        """The context, the sentence that follows and one from elsewhere."""
        return 3

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        """One choice."""
        return (HeadSpec("following", "choice", classes=self.options.candidates),)

    def index(self, layout: TextLayout, length: int) -> SampleIndex:
        """Even windows of the size that context and candidate have together, but for those that
        nothing follows.
        """
        count = self.options.candidates
        index = even_windows(layout, length // count - _SPECIALS, _SPECIALS, self.minimum_sentences)
        document = layout.document_tokens.searchsorted(index.starts, side="right")
        kept = index.starts < layout.sentence_offsets[layout.document_offsets[document] - 1]
        return SampleIndex(index.starts[kept], index.stops[kept], index.slots[kept] * count)

    def example(
        self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus
    ) -> Example | None:
        """Cut all candidates to the same budget; the context fills the room that the longest
        leaves, and is the same for all.
        """
        places = self._places(text, rng, corpus)
        if places is None:
            return None
        layers, room, offsets = tuple(text.layers), len(text.token_ids), corpus.sentence_offsets
        starts = [int(offsets[place + 1]) for place in places]
        spans = [
            (start, min(start + room // 2, int(offsets[place + 2])))
            for start, place in zip(starts, places, strict=True)
        ]
        here, there = places[:2]
        earliest, stop = text_beside(corpus, here + 1, False)
        if there < here:
            # A candidate must not stand in the context.
            earliest = int(offsets[there + 2])
        longest = max(end - start for start, end in spans)
        context = corpus.passage(max(earliest, stop - room + longest), stop, layers)
        order = rng.permutation(len(spans))
        candidates = [corpus.passage(start, end, layers) for start, end in spans]
        sequences = [assemble(self, [context, candidates[number]], {}) for number in order]
        firsts = np.cumsum([0] + [len(sequence.token_ids) for sequence in sequences[:-1]])
        return join(sequences, {"following": Targets(firsts[None], np.flatnonzero(order == 0))})

    def _places(
        self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus
    ) -> list[int] | None:
        """Draw the sentences that the candidates follow: first the context's last one; None where
        there are too few.
        """
        here, there, elsewhere = random_sentences(text, rng, corpus)
        followed = (borders_beside(corpus, np.array([here, there]), True)[1] > 0).all(axis=0)
        good = np.flatnonzero(followed & (there != here) & (there != here - 1))
        wanted = self.options.candidates - 2
        if wanted:
            elsewhere = elsewhere[borders_beside(corpus, elsewhere, True)[1] > 0]
        if not len(good) or len(elsewhere) < wanted:
            return None
        return [int(here[good[0]]), int(there[good[0]]), *elsewhere[:wanted].tolist()]
