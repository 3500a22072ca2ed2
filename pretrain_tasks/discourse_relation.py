"""Discourse relation: a sentence and the next one, whose opening marker was taken away; which
marker was it?
"""

from types import MappingProxyType

import numpy as np
from pydantic import Field

from ernie_cmtl.data.sequences import assemble
from ernie_cmtl.records import AnnotatedText, CorpusProfile, Example, IntArray, Targets
from ernie_cmtl.task import (
    HeadSpec,
    PretrainTask,
    SampleIndex,
    TaskCorpus,
    TaskOptions,
    labelled_classes,
)

_LAYER = "discourse_markers"
_SPECIALS = 3
_SHORTEST = 3
"""Fewest tokens that a sentence has without its marker."""
_CONTINUES = 255


class DiscourseRelationOptions(TaskOptions):
    """Where the pairs come from, and how often a marker may come."""

    label: str = "label"
    """Column of the marker, if the pairs come from a table (`table`)."""
    most_of_median: float = Field(4.0, ge=1)
    """Maximum frequency of a marker, as a multiple of the median one. Its other pairs, evenly
    spread, are left out.
    """


class DiscourseRelation(PretrainTask):
    """One class a pair: the marker; mined from running text, or read from a table."""

    family = "semantic"
    citation = "ERNIE 2.0, section 4.2.3; Discovery (Sileo et al. 2019)"
    known_leaks = MappingProxyType(
        {
            "edge_tokens": "some markers go with some beginnings: a question, a pronoun, a number",
            "bag_of_words": "what a text is about and what relations it states go together",
        }
    )
    Options = DiscourseRelationOptions
    options: DiscourseRelationOptions

    def __init__(self, options: DiscourseRelationOptions, profile: CorpusProfile) -> None:
        """Read which markers there are.

        Raises:
            UserError: The table has other text columns than two, or no such column of markers.
        """
        super().__init__(options, profile)
        self.markers = tuple(profile.layer_options.get(_LAYER, {}).get("markers", ()))
        """Class -> marker."""
        if options.table is not None and options.table in profile.tables:
            self.markers = labelled_classes(profile, options.table, 2, options.label, "label")

    @property
    def layers(self) -> tuple[str, ...]:
        """The markers in running text; a table has none."""
        return () if self.options.table else (_LAYER,)

    @property
    def minimum_sentences(self) -> int:
        """The pair."""
        return 2

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        """One sequence head."""
        return (
            HeadSpec(
                "marker",
                "sequence_class",
                max(2, len(self.markers)),
                class_names=self.markers,
                rare_classes=True,
            ),
        )

    def index(self, layout: TaskCorpus, length: int) -> SampleIndex:
        """Pairs whose second sentence opens with a marker, over-frequent markers thinned out; or
        every labelled row that fits.
        """
        seconds = self._labelled(layout) if self.options.table else self._mined(layout)
        offsets = layout.sentence_offsets
        starts, middles, stops = offsets[seconds - 1], offsets[seconds], offsets[seconds + 1]
        marked = 0 if self.options.table else _marker_tokens(layout, middles, stops)
        slots = stops - starts - marked + _SPECIALS
        fits = slots <= length
        if not self.options.table:
            fits &= stops - middles - marked >= _SHORTEST
        return SampleIndex(starts[fits], stops[fits], slots[fits])

    @staticmethod
    def _labelled(layout: TaskCorpus) -> IntArray:
        """Return the second sentence of each row."""
        return layout.document_offsets[:-1] + 1

    def _mined(self, layout: TaskCorpus) -> IntArray:
        """Return the sentences that open with a marker, are not the first of their document, and go
        on after it.
        """
        first_of_document = np.zeros(len(layout.sentence_offsets), dtype=bool)
        first_of_document[layout.document_offsets] = True
        seconds = np.flatnonzero(~first_of_document[:-1])
        kinds = layout.layer_at(_LAYER, layout.sentence_offsets[seconds]).astype(np.int64)
        found = (kinds > 0) & (kinds < _CONTINUES)
        seconds, kinds = seconds[found], kinds[found]
        if not len(seconds):
            return seconds
        counts = np.bincount(kinds)
        most = max(1, int(self.options.most_of_median * np.median(counts[counts > 0])))
        # The n-th pair of a marker stays where n * most / count passes a whole number: evenly
        # spread over the text.
        order = np.argsort(kinds, kind="stable")
        rank = np.arange(len(kinds)) - np.repeat(np.cumsum(counts) - counts, counts)
        share = np.minimum(1.0, most / counts[kinds[order]])
        kept = np.floor((rank + 1) * share) > np.floor(rank * share)
        return np.sort(seconds[order[kept]])

    def example(
        self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus
    ) -> Example | None:
        """Take the marker away and make it the label."""
        middle = second = int(text.sentence_offsets[1])
        if self.options.table:
            label = int(corpus.labels[self.options.label][corpus.document_at(text.start)])
        else:
            marks = text.layers[_LAYER]
            label = int(marks[middle]) - 1
            second += 1 + int((marks[middle + 1 :] != _CONTINUES).argmax())
        targets = {"marker": Targets(np.zeros(1, dtype=np.int64), np.array([label]))}
        return assemble(
            self, [text.part(0, middle), text.part(second, len(text.token_ids))], targets
        )


def _marker_tokens(layout: TaskCorpus, starts: IntArray, stops: IntArray) -> IntArray:
    """Return how many tokens the marker has that each sentence opens with."""
    lengths = np.ones(len(starts), dtype=np.int64)
    (longer,) = (starts + 1 < stops).nonzero()
    while len(longer):
        longer = longer[layout.layer_at(_LAYER, starts[longer] + lengths[longer]) == _CONTINUES]
        lengths[longer] += 1
        longer = longer[starts[longer] + lengths[longer] < stops[longer]]
    return lengths
