"""Words and knowledge spans -> the units of a text that are masked as one."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ernie_cmtl.records import AnnotatedText, IntArray

WORD = 1
"""Kind of a unit that is a plain word; a span of the n-th layer has kind 2 + n."""


def knowledge_units(text: AnnotatedText, spans: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Mark where each unit of a text starts, and its kind: 1 a word, 2 + n a span of the n-th
    layer; uint8 [T].

    spans: layers of knowledge spans. Where spans overlap, the one of the first layer stands and the
    others fall to words.
    """
    units = (text.layers["word_starts"] > 0).astype(np.uint8)
    units[text.sentence_offsets[:-1]] = WORD
    taken = np.zeros(len(units), dtype=bool)
    for kind, name in enumerate(spans, start=WORD + 1):
        starts, stops = span_places(text.layers[name])
        if not len(starts):
            continue
        if kind > WORD + 1:
            before = np.zeros(len(taken) + 1, dtype=np.int64)
            taken.cumsum(out=before[1:])
            free = before[starts] == before[stops]
            starts, stops = starts[free], stops[free]
        inside = _ranges(starts, stops)
        units[inside] = 0
        units[starts] = kind
        taken[inside] = True
        after = stops[stops < len(units)]
        units[after] = np.maximum(units[after], WORD)
    return units


def _ranges(starts: IntArray, stops: IntArray) -> IntArray:
    """Return all places of starts[i]:stops[i], one range after another."""
    lengths = stops - starts
    ends = lengths.cumsum()
    places: IntArray = (stops - ends).repeat(lengths) + np.arange(ends[-1] if len(ends) else 0)
    return places


def span_places(layer: npt.NDArray[np.uint8]) -> tuple[IntArray, IntArray]:
    """Return first token and one past the last of each span of a layer; a span that a window cut
    off begins with the window.
    """
    begins, ends = layer == 1, layer > 0
    # The last token of a span is the one that the span does not go on after.
    ends[:-1] &= layer[1:] != 2
    begins[:1] = layer[:1] > 0
    return begins.nonzero()[0], ends.nonzero()[0] + 1
