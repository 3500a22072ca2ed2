"""Masked words and phrases: predict the tokens of whole units of knowledge from the text around
them.
"""

from typing import Literal

import numpy as np

from ernie_cmtl.data.sequences import assemble
from ernie_cmtl.data.windows import token_windows
from ernie_cmtl.records import AnnotatedText, Example
from ernie_cmtl.task import HeadSpec, PretrainTask, SampleIndex, TaskCorpus, TaskOptions, TextLayout

_SPECIALS = 2


class KnowledgeMaskingOptions(TaskOptions):
    """Masked tokens are all that there is to predict."""

    masked_tokens: Literal[True] = True


class KnowledgeMasking(PretrainTask):
    """Tokens of masked units, 80/10/10; words, phrases and names mixed, as the options of masking
    say.
    """

    family = "lexical"
    citation = "ERNIE 1.0, section 3.2; ERNIE 2.0, section 4.2.1"
    Options = KnowledgeMaskingOptions

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        """None of its own: the shared vocabulary head comes with the masked tokens."""
        return ()

    def index(self, layout: TextLayout, length: int) -> SampleIndex:
        """Windows of the full length."""
        return token_windows(layout, length - _SPECIALS, _SPECIALS)

    def example(
        self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus
    ) -> Example | None:
        """The window; its units are masked like those of any task that asks for it."""
        return assemble(self, [text], {})
