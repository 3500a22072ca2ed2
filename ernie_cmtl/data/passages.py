"""Text beyond a sample: other places of its document and of other documents, all drawn by one rule.

A place is the sentence of a random token. Windows share a document's tokens out evenly, so that the
place of a random token in a random sample, in its document or in another one comes from the same
distribution.
"""

import numpy as np
import numpy.typing as npt

from ernie_cmtl.records import AnnotatedText, IntArray
from ernie_cmtl.task import TaskCorpus

Span = tuple[int, int]
"""First token and one past the last."""

_DRAWS = 32
_PROBES = 256
_TOLERANCE = 8


def random_sentences(
    text: AnnotatedText, rng: np.random.Generator, corpus: TaskCorpus
) -> tuple[IntArray, IntArray, IntArray]:
    """Draw sentences of random tokens: of a sample, of its document and of all other documents;
    numbers, int64 [32] each.
    """
    first, end = _document_of(corpus, text)
    total = int(corpus.document_tokens[-1])
    starts = np.array([[text.start], [first], [0]])
    sizes = np.array([[len(text.token_ids)], [end - first], [total - (end - first)]])
    tokens = starts + (rng.random((3, _DRAWS)) * sizes).astype(np.int64)
    tokens[2] += np.where(tokens[2] >= first, end - first, 0)
    here, there, elsewhere = corpus.sentence_offsets.searchsorted(tokens, side="right") - 1
    return here, there, elsewhere


def _document_of(corpus: TaskCorpus, text: AnnotatedText) -> Span:
    """Return the first token and one past the last of the document that a passage is of."""
    document = corpus.document_at(text.start)
    return int(corpus.document_tokens[document]), int(corpus.document_tokens[document + 1])


def borders_beside(
    corpus: TaskCorpus, sentences: IntArray, after: npt.NDArray[np.bool_] | bool
) -> tuple[IntArray, IntArray, IntArray]:
    """Return the border after (or before) each sentence, the tokens of its document beyond it, and
    the tokens on this side.

    sentences: numbers, int64 of any shape; after: of a shape that goes with it.
    """
    document = corpus.document_offsets.searchsorted(sentences, side="right") - 1
    start, end = corpus.document_tokens[document], corpus.document_tokens[document + 1]
    border = corpus.sentence_offsets[sentences + after]
    beyond = np.where(after, end - border, border - start)
    return border, beyond, end - start - beyond


def text_beside(corpus: TaskCorpus, sentence: int, after: bool) -> Span:
    """Return all that stands after (or before) a sentence in its document."""
    bounds, offsets = corpus.document_offsets, corpus.sentence_offsets
    document = int(bounds.searchsorted(sentence, side="right")) - 1
    if after:
        return int(offsets[sentence + 1]), int(offsets[bounds[document + 1]])
    return int(offsets[bounds[document]]), int(offsets[sentence])


def run_like(
    run: AnnotatedText, before: bool, rng: np.random.Generator, corpus: TaskCorpus
) -> Span | None:
    """Find a run of another document that could stand for one of this: as many sentences, and
    nearly as many tokens.

    A run that begins (`before`) or else ends its document is replaced by one that does so too,
    where one is found; its other side is never the edge of its document. At most an eighth of the
    tokens is lacking, mostly none. None: none is found.
    """
    offsets, bounds, count, size = (
        corpus.sentence_offsets,
        corpus.document_offsets,
        run.sentences,
        len(run.token_ids),
    )
    own_start, own_stop = _document_of(corpus, run)
    tokens = rng.integers(0, int(offsets[-1]) - (own_stop - own_start), _PROBES)
    tokens[tokens >= own_start] += own_stop - own_start
    document = corpus.document_tokens.searchsorted(tokens, side="right") - 1
    first, end = bounds[document], bounds[document + 1]
    inner_room = end - first - count - 1
    inner = first + 1 + (rng.random(_PROBES) * inner_room).astype(np.int64)
    edge = first if before else end - count
    pools = [(inner, inner_room > 0), (edge, end - first > count)]
    at_edge = run.start == own_start if before else run.start + size == own_stop
    for starts, there in reversed(pools) if at_edge else pools:
        starts = starts[there]
        lacking = size - (offsets[starts + count] - offsets[starts])
        fitting = np.flatnonzero((lacking >= 0) & (lacking <= size // _TOLERANCE))
        if len(fitting):
            start = int(starts[fitting[np.argmin(lacking[fitting])]])
            return int(offsets[start]), int(offsets[start + count])
    return None
