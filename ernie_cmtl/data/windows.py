"""Ways to cut text into samples."""

from dataclasses import dataclass

import numpy as np

from ernie_cmtl.randomness import mix
from ernie_cmtl.records import IntArray
from ernie_cmtl.task import SampleIndex, TextLayout

FEWEST_TOKENS = 4
"""Of a window that is shared out among several segments."""


def token_windows(layout: TextLayout, tokens: int, specials: int) -> SampleIndex:
    """Cut each document into windows of exactly `tokens` tokens, the last one shorter; sentences
    and words may be cut.
    """
    bounds = layout.document_tokens
    lengths = np.diff(bounds)
    counts = -(-lengths // tokens)
    document = np.repeat(np.arange(len(lengths)), counts)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = bounds[document] + place * tokens
    stops = np.minimum(starts + tokens, bounds[document + 1])
    return SampleIndex(starts, stops, stops - starts + specials)


def sentence_windows(
    layout: TextLayout, tokens: int, specials: int, minimum_sentences: int
) -> SampleIndex:
    """Cut each document into runs of whole sentences of at most `tokens` tokens; runs of too few
    sentences are left out.
    """
    sentences = layout.sentence_offsets
    first_of_document = layout.document_offsets
    count = len(sentences) - 1
    reach = np.searchsorted(sentences, sentences[:-1] + tokens, side="right") - 1
    document_end = np.repeat(first_of_document[1:], np.diff(first_of_document))
    ends = np.minimum(reach, document_end).tolist()
    firsts: list[int] = []
    lasts: list[int] = []
    sentence = 0
    while sentence < count:
        end = ends[sentence]
        if end - sentence >= minimum_sentences:
            firsts.append(sentence)
            lasts.append(end)
        # A sentence longer than a window is stepped over.
        sentence = max(end, sentence + 1)
    starts, stops = _tokens_at(sentences, firsts), _tokens_at(sentences, lasts)
    return SampleIndex(starts, stops, stops - starts + specials)


def even_windows(
    layout: TextLayout, tokens: int, specials: int, minimum_sentences: int
) -> SampleIndex:
    """Cut each document of enough sentences into windows of equal size, at most `tokens` tokens;
    sentences may be cut.
    """
    bounds = layout.document_tokens
    enough = (np.diff(layout.document_offsets) >= minimum_sentences) & (
        np.diff(bounds) >= FEWEST_TOKENS
    )
    documents = np.flatnonzero(enough) if tokens >= FEWEST_TOKENS else np.zeros(0, dtype=np.int64)
    lengths = bounds[documents + 1] - bounds[documents]
    counts = -(-lengths // max(tokens, 1))
    row = np.repeat(np.arange(len(documents)), counts)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = bounds[documents[row]] + place * lengths[row] // counts[row]
    stops = bounds[documents[row]] + (place + 1) * lengths[row] // counts[row]
    return SampleIndex(starts, stops, stops - starts + specials)


def balanced_windows(
    layout: TextLayout, tokens: int, specials: int, minimum_sentences: int
) -> SampleIndex:
    """Cut documents into runs of whole sentences, half of the documents from their beginning and
    half from their end.

    A run ends before a sentence that is too long for it, so that its far side has the shorter
    sentences; cut from both ends alike, which of two parts of a run is the earlier one does not
    show in their lengths.
    """
    ahead = sentence_windows(layout, tokens, specials, minimum_sentences)
    back = sentence_windows(_Mirrored(layout), tokens, specials, minimum_sentences)
    end = layout.sentence_offsets[-1]
    starts = np.concatenate([ahead.starts, end - back.stops[::-1]])
    stops = np.concatenate([ahead.stops, end - back.starts[::-1]])
    documents = np.searchsorted(layout.document_tokens, starts, side="right") - 1
    from_end = np.arange(len(starts)) >= len(ahead)
    chosen = (mix(documents.astype(np.uint64)) & np.uint64(1)).astype(bool) == from_end
    return SampleIndex(starts[chosen], stops[chosen], (stops - starts)[chosen] + specials)


@dataclass(frozen=True)
class _Mirrored:
    """A text read from its end."""

    layout: TextLayout

    @property
    def documents(self) -> int:
        return self.layout.documents

    @property
    def document_tokens(self) -> IntArray:
        return _mirror(self.layout.document_tokens)

    @property
    def document_offsets(self) -> IntArray:
        return _mirror(self.layout.document_offsets)

    @property
    def sentence_offsets(self) -> IntArray:
        return _mirror(self.layout.sentence_offsets)


def _mirror(offsets: IntArray) -> IntArray:
    mirrored: IntArray = offsets[-1] - offsets[::-1]
    return mirrored


def _tokens_at(sentences: IntArray, numbers: list[int]) -> IntArray:
    return sentences[np.array(numbers, dtype=np.int64)]
