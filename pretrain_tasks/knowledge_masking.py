"""Masked words and phrases: predict the tokens of whole units of knowledge from the text around them."""

from typing import Literal

import numpy as np
from pydantic import Field

from ernie_cmtl.data.assemble import assemble
from ernie_cmtl.data.masking import mask_units
from ernie_cmtl.data.units import knowledge_units
from ernie_cmtl.data.windows import token_windows
from ernie_cmtl.records import MASKED_TOKEN, AnnotatedText, Example, Targets
from ernie_cmtl.task import MASKED_TOKEN_HEAD, HeadSpec, PretrainTask, SampleIndex, TaskCorpus, TaskOptions, TextLayout

_SPECIALS = 2


class KnowledgeMaskingOptions(TaskOptions):
    """Which units are masked, and how many."""

    units: Literal["knowledge", "word", "token"] = "knowledge"
    """knowledge: spans and words; word: whole words only; token: each token alone."""
    spans: tuple[str, ...] | None = None
    """Span layers whose spans are units; where they overlap, the first named wins. None: all that the corpus has."""
    rate: float = Field(0.15, gt=0, lt=1)
    """Part of the tokens that is predicted."""


class KnowledgeMasking(PretrainTask):
    """Tokens of masked units, 80/10/10; words and phrases mixed."""

    family = "lexical"
    source = "ERNIE 1.0, section 3.2; ERNIE 2.0, section 4.2.1"
    Options = KnowledgeMaskingOptions
    options: KnowledgeMaskingOptions

    @property
    def spans(self) -> tuple[str, ...]:
        """Span layers whose spans are units."""
        if self.options.units != "knowledge":
            return ()
        return self.profile.spans if self.options.spans is None else self.options.spans

    @property
    def layers(self) -> tuple[str, ...]:
        """Words, and the spans that are chosen."""
        return ("word_starts", *self.spans)

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        """One: the shared vocabulary head."""
        return (MASKED_TOKEN_HEAD,)

    def index(self, layout: TextLayout, length: int) -> SampleIndex:
        """Windows of the full length."""
        return token_windows(layout, length - _SPECIALS, _SPECIALS)

    def example(self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus) -> Example | None:
        """Mask units of a window."""
        if self.options.units == "token":
            unit_starts = np.ones(len(text.token_ids), dtype=np.uint8)
        else:
            unit_starts = knowledge_units(text, self.spans)
        masked = mask_units(text.token_ids, unit_starts, self.vocabulary, self.options.rate, rng)
        if masked is None:
            return None
        token_ids, targets = masked
        token_ids, token_type_ids = assemble([token_ids], self.vocabulary)
        return Example(token_ids, token_type_ids, {MASKED_TOKEN: Targets(targets.positions + 1, targets.labels)})
