"""Small texts made of a real one, whose documents are unusual: a task must cope with each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ernie_cmtl.corpus.store.text_split import TextSplit
from ernie_cmtl.records import AnnotatedText, IntArray
from ernie_cmtl.task import TaskCorpus

_DOCUMENTS, _SENTENCES = 8, 24
"""Of the small texts, at most."""


@dataclass(frozen=True)
class EdgeText:
    """A small text in memory with unusual documents."""

    text: TaskCorpus
    content: Callable[[], bytes]
    """Returns all that the text holds, to see that it stays."""


def edge_texts(text: TextSplit, layers: Sequence[str]) -> Mapping[str, EdgeText]:
    """Return small texts made of documents of a real one: some cut to a sentence or a token, some
    empty.
    """
    documents = [
        _document(text, number, layers) for number in range(min(_DOCUMENTS, text.documents))
    ]
    sentences = [document.sentence_range(0, 1) for document in documents]
    tokens = [document.part(0, 1) for document in documents]
    none = [
        AnnotatedText(document.token_ids[:0], np.zeros(1, np.int64), {}) for document in documents
    ]
    return {
        "short documents": _edge_text([*documents, *sentences, *tokens], layers),
        "one-sentence documents": _edge_text(sentences, layers),
        "empty documents": _edge_text(
            [part for pair in zip(none, documents, strict=True) for part in pair] + none[:1], layers
        ),
    }


def _document(text: TextSplit, number: int, layers: Sequence[str]) -> AnnotatedText:
    first = int(text.document_offsets[number])
    last = min(int(text.document_offsets[number + 1]), first + _SENTENCES)
    return text.passage(int(text.sentence_offsets[first]), int(text.sentence_offsets[last]), layers)


def _edge_text(documents: Sequence[AnnotatedText], layers: Sequence[str]) -> EdgeText:
    tokens = np.concatenate([document.token_ids for document in documents])
    starts = _ends([len(document.token_ids) for document in documents])
    sentences = [
        document.sentence_offsets[1:] + start
        for document, start in zip(documents, starts.tolist(), strict=False)
    ]
    # An empty document has no layers, and adds nothing to any.
    arrays = {
        name: np.concatenate([d.layers[name] for d in documents if len(d.token_ids)])
        for name in layers
    }
    offsets = np.concatenate([np.zeros(1, np.int64), *sentences])
    document_offsets = _ends([document.sentences for document in documents])
    text = TextSplit(
        tokens=len(tokens),
        document_offsets=document_offsets,
        sentence_offsets=offsets,
        shard_starts=np.zeros(1, np.int64),
        shard_documents=np.zeros(1, np.int64),
        shard_sources=["edge"],
        arrays=[{"token_ids": tokens, **arrays}],
    )
    held = [tokens, offsets, document_offsets, *arrays.values()]
    return EdgeText(text, lambda: b"".join(array.tobytes() for array in held))


def _ends(counts: Sequence[int]) -> IntArray:
    return np.cumsum([0, *counts])
