"""Sentence reordering: a paragraph is cut into a few segments and shuffled; which order was it?"""

from functools import cached_property
from itertools import pairwise, permutations
from math import factorial
from types import MappingProxyType

import numpy as np
from pydantic import Field

from ernie_cmtl.data.sequences import assemble
from ernie_cmtl.data.windows import sentence_windows
from ernie_cmtl.records import AnnotatedText, Example, Targets
from ernie_cmtl.task import HeadSpec, PretrainTask, SampleIndex, TaskCorpus, TaskOptions, TextLayout


class SentenceReorderingOptions(TaskOptions):
    """How finely a paragraph is cut."""

    segments: int = Field(3, ge=2, le=4)
    """Maximum number of segments. The classes are all orders of 1, 2, ... segments: 9 for 3, 33 for
    4.
    """


class SentenceReordering(PretrainTask):
    """One class a sequence: the number of segments, drawn uniformly, and their order, drawn
    uniformly.
    """

    family = "syntactic"
    citation = "ERNIE 2.0, section 4.2.2"
    Options = SentenceReorderingOptions
    known_leaks = MappingProxyType(
        {"edge_tokens": "some words open a passage and others go on with it"}
    )
    options: SentenceReorderingOptions

    @property
    def minimum_sentences(self) -> int:
        """A sentence for each segment."""
        return self.options.segments

    @cached_property
    def orders(self) -> list[tuple[int, ...]]:
        """Class -> order: place i of the input shows segment order[i] of the text."""
        return [
            order for n in range(1, self.options.segments + 1) for order in permutations(range(n))
        ]

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        """One sequence head."""
        names = tuple("-".join(str(segment + 1) for segment in order) for order in self.orders)
        segments = tuple(f"{len(order)} segments" for order in self.orders)
        return (
            HeadSpec(
                "order", "sequence_class", len(names), class_names=names, shown_groups=segments
            ),
        )

    def index(self, layout: TextLayout, length: int) -> SampleIndex:
        """Runs of whole sentences, enough of them for the most segments."""
        specials = 1 + self.options.segments
        return sentence_windows(layout, length - specials, specials, self.minimum_sentences)

    def example(
        self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus
    ) -> Example | None:
        """Cut at sentence borders, shuffle, label with the order."""
        count = int(rng.integers(1, self.options.segments + 1))
        cuts = np.sort(rng.permutation(text.sentences - 1)[: count - 1]) + 1
        edges = [0, *cuts.tolist(), text.sentences]
        segments = [text.sentence_range(first, last) for first, last in pairwise(edges)]
        # The orders of n segments stand after those of fewer.
        label = sum(factorial(n) for n in range(1, count)) + int(rng.integers(factorial(count)))
        targets = {"order": Targets(np.zeros(1, dtype=np.int64), np.array([label]))}
        return assemble(self, [segments[place] for place in self.orders[label]], targets)
