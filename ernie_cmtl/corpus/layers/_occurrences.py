"""Where each token of a document occurs in it, for all documents of a shard at once."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ernie_cmtl.atomic_files import read_array
from ernie_cmtl.records import Array, IntArray


@dataclass(frozen=True)
class Occurrences:
    """The tokens of some documents, sorted so that equal tokens of one document stand together."""

    token_ids: Array
    order: IntArray
    """Places of the tokens, by token and then by document; int64 [tokens]."""
    firsts: IntArray
    """Where in `order` another token or another document begins; int64 [pairs of token and
    document].
    """

    def counts(self) -> IntArray:
        """Return how often each token occurs in its document; int64 [tokens]."""
        lengths = np.diff(np.append(self.firsts, len(self.order)))
        counts = np.empty(len(self.order), dtype=np.int64)
        counts[self.order] = np.repeat(lengths, lengths)
        return counts

    def documents_of_each(self, size: int) -> IntArray:
        """Return in how many of the documents each token occurs; int64 [size of the vocabulary]."""
        return np.bincount(self.token_ids[self.order[self.firsts]], minlength=size)


def occurrences_in(shard: Path, documents: int | None = None) -> Occurrences:
    """Sort the tokens of the first `documents` of a shard, by default of all."""
    document_offsets = read_array(shard / "document_offsets.npy")[
        : None if documents is None else documents + 1
    ]
    bounds = read_array(shard / "sentence_offsets.npy")[document_offsets]
    token_ids = np.asarray(read_array(shard / "token_ids.npy")[: bounds[-1]])
    # The documents follow one another, so a stable sort by token leaves those of each token in
    # order.
    order = np.argsort(token_ids, kind="stable")
    document = np.repeat(np.arange(len(bounds) - 1, dtype=np.int32), np.diff(bounds))[order]
    token = token_ids[order]
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = (token[1:] != token[:-1]) | (document[1:] != document[:-1])
    return Occurrences(token_ids, order, np.flatnonzero(begins))
