"""Annotated text as tasks read it: one run of tokens over all its files; reading is slicing."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ernie_cmtl.records import AnnotatedText, Array, IntArray

_COUNTED_SHARDS = 64


@dataclass(frozen=True)
class TextSplit:
    """The documents of one split as one run of tokens over all its shards; reading is slicing."""

    tokens: int
    document_offsets: IntArray
    """Sentences: document d is sentences offsets[d]:offsets[d+1]; int64 [documents + 1]."""
    sentence_offsets: IntArray
    """Tokens: sentence s is tokens offsets[s]:offsets[s+1]; int64 [sentences + 1]."""
    shard_starts: IntArray
    """First token of each shard; int64 [shards]."""
    shard_documents: IntArray
    """First document of each shard; int64 [shards]."""
    shard_sources: Sequence[str]
    """Source of each shard."""
    arrays: Sequence[Mapping[str, Array]] = field(repr=False)
    """Per shard: `token_ids` and the layers."""
    labels: Mapping[str, Array] = field(default_factory=dict, repr=False)
    """Column -> int64 [documents] classes, float64 [documents] numbers, or int32 [tokens] tags, -1
    where none stands; running text has no column.
    """

    @property
    def documents(self) -> int:
        """Number of documents."""
        return len(self.document_offsets) - 1

    @cached_property
    def document_tokens(self) -> IntArray:
        """First token of each document and the end; int64 [documents + 1]."""
        return self.sentence_offsets[self.document_offsets]

    @cached_property
    def _first_tokens(self) -> list[int]:
        # The shards are few: a list is searched faster than an array.
        starts: list[int] = self.shard_starts.tolist()
        return starts

    @cached_property
    def _first_documents(self) -> list[int]:
        documents: list[int] = self.shard_documents.tolist()
        return documents

    def token_counts(self, vocabulary: int) -> IntArray:
        """Return how often each token of the vocabulary stands in the text; int64 [vocabulary].

        Of more than 64 shards, some at even distances are counted.
        """
        counts = np.zeros(vocabulary, dtype=np.int64)
        for arrays in self.arrays[:: -(-len(self.arrays) // _COUNTED_SHARDS) or 1]:
            counts += np.bincount(arrays["token_ids"], minlength=vocabulary)
        return counts

    def layer_at(self, name: str, tokens: IntArray) -> Array:
        """Return the values of a layer at some tokens, which are sorted; [N]."""
        edges = np.searchsorted(tokens, [*self.shard_starts, self.tokens])
        parts = [
            arrays[name][tokens[first:last] - start]
            for arrays, start, first, last in zip(
                self.arrays, self.shard_starts, edges[:-1], edges[1:], strict=True
            )
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint8)

    def document_layer(self, name: str, document: int) -> Array:
        """Return the row of a document in a layer that has one for each."""
        shard = bisect_right(self._first_documents, document) - 1
        return np.asarray(self.arrays[shard][name][document - self._first_documents[shard]])

    def sources(self, starts: IntArray) -> Array:
        """Return the source of each of some tokens; str [N]."""
        return np.array(self.shard_sources)[
            np.searchsorted(self.shard_starts, starts, side="right") - 1
        ]

    def passage(self, start: int, stop: int, layers: Sequence[str]) -> AnnotatedText:
        """Return tokens start:stop, which lie in one document, with their sentences and layers."""
        shard = bisect_right(self._first_tokens, start) - 1
        arrays, base = self.arrays[shard], self._first_tokens[shard]
        span = slice(start - base, stop - base)
        first, last = self.sentence_offsets.searchsorted((start + 1, stop))
        offsets = self.sentence_offsets[first - 1 : last + 1] - start
        offsets[0], offsets[-1] = 0, stop - start
        token_ids = arrays["token_ids"][span].astype(np.int64)
        return AnnotatedText(
            token_ids, offsets, {name: arrays[name][span] for name in layers}, start
        )

    def document_at(self, token: int) -> int:
        """Return the number of the document that a token lies in."""
        return int(self.document_tokens.searchsorted(token, side="right")) - 1
