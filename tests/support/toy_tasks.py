"""Small tasks, sound and unsound ones, for the check: each is SOUND with a piece changed."""

SOUND = '''
from dataclasses import replace

import numpy as np

from ernie_cmtl.data.sequences import assemble
from ernie_cmtl.data.windows import sentence_windows
from ernie_cmtl.records import Targets
from ernie_cmtl.task import HeadSpec, PretrainTask


class Toy(PretrainTask):
    """Have two neighbours inside the first half changed places?"""

    family = "syntactic"
    citation = "test"

    @property
    def minimum_sentences(self):
        return 2

    @property
    def layers(self):
        return ()

    @property
    def heads(self):
        return (HeadSpec("swapped", "sequence_class", classes=2, class_names=("kept", "swapped")),)

    def put(self, text, place, tokens):
        changed = text.token_ids.copy()
        changed[place : place + len(tokens)] = tokens
        return replace(text, token_ids=changed)

    def mix(self, text, label):
        middle = len(text.token_ids) // 2 - 1
        pair = text.token_ids[middle : middle + 2]
        return self.put(text, middle, pair[::-1]) if label and middle > 0 else text

    def index(self, layout, length):
        return sentence_windows(layout, length - 3, 3, self.minimum_sentences)

    def example(self, text, rng, corpus):
        cut = int(rng.integers(1, text.sentences))
        halves = [text.sentence_range(0, cut), text.sentence_range(cut, text.sentences)]
        label = int(rng.integers(2))
        place = 0
        segments = [self.mix(halves[0], label), halves[1]]
        swapped = Targets(np.array([place]), np.array([label]))
        example = assemble(self, segments, {"swapped": swapped})
        return example
'''


def variant(*changes: tuple[str, str]) -> str:
    """Return the sound task with pieces of it replaced."""
    source = SOUND
    for old, new in changes:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    return source
