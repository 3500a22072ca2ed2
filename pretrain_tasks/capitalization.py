"""Capital letters: was the word written with a capital? The tokens are uncased, so the text itself
does not show it.
"""

from types import MappingProxyType

import numpy as np

from ernie_cmtl.data.sequences import assemble
from ernie_cmtl.data.windows import token_windows
from ernie_cmtl.records import AnnotatedText, Example, Targets
from ernie_cmtl.task import HeadSpec, PretrainTask, SampleIndex, TaskCorpus, TextLayout

_SPECIALS = 2


class Capitalization(PretrainTask):
    """Two classes at the first token of each word that has letters with case."""

    family = "lexical"
    citation = "ERNIE 2.0, section 4.2.1"
    languages = ("en",)
    known_leaks = MappingProxyType(
        {
            "token_identity": "many names are always names",
            "neighbours": "a word after a full stop has a capital",
        }
    )

    @property
    def layers(self) -> tuple[str, ...]:
        """Letter case alone; words without a letter have none."""
        return ("letter_case",)

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        """One token head."""
        return (HeadSpec("capital", "token_class", classes=2, class_names=("lower", "capital")),)

    def index(self, layout: TextLayout, length: int) -> SampleIndex:
        """Windows of the full length."""
        return token_windows(layout, length - _SPECIALS, _SPECIALS)

    def example(
        self, text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus
    ) -> Example | None:
        """Label every word of a window; an unknown token shows no word and is left out."""
        case = np.where(self.vocabulary.special[text.token_ids], 0, text.layers["letter_case"])
        places = np.flatnonzero(case)
        if not len(places):
            return None
        return assemble(
            self, [text], {"capital": Targets(places + 1, case[places].astype(np.int64) - 1)}
        )
