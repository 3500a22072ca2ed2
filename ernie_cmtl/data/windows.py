"""Ways to cut text into samples."""

import numpy as np

from ernie_cmtl.records import IntArray
from ernie_cmtl.task import SampleIndex, TextLayout


def token_windows(layout: TextLayout, tokens: int, specials: int) -> SampleIndex:
    """Cut each document into windows of exactly `tokens` tokens, the last one shorter; sentences and words may be cut."""
    bounds = layout.document_tokens
    lengths = np.diff(bounds)
    counts = -(-lengths // tokens)
    document = np.repeat(np.arange(len(lengths)), counts)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = bounds[document] + place * tokens
    stops = np.minimum(starts + tokens, bounds[document + 1])
    return SampleIndex(starts, stops, stops - starts + specials)


def sentence_windows(layout: TextLayout, tokens: int, specials: int, minimum_sentences: int) -> SampleIndex:
    """Cut each document into runs of whole sentences of at most `tokens` tokens; runs of too few sentences are left out."""
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


def _tokens_at(sentences: IntArray, numbers: list[int]) -> IntArray:
    return sentences[np.array(numbers, dtype=np.int64)]
