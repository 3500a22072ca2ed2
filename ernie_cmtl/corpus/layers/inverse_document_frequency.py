"""Inverse document frequency: how few documents of the training split hold a token."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from ernie_cmtl.atomic_files import read_array, write_array
from ernie_cmtl.corpus.layers import FittedLayer, LayerOptions
from ernie_cmtl.corpus.layers._occurrences import occurrences_in
from ernie_cmtl.corpus.store.manifest import Shard
from ernie_cmtl.records import Array, Vocabulary

MOST = np.iinfo(np.uint8).max


class InverseDocumentFrequencyOptions(LayerOptions):
    """How finely it is kept."""

    steps: int = Field(12, ge=1, le=100)
    """Steps in a nat; the layer holds up to 255 of them."""


class InverseDocumentFrequency(FittedLayer):
    """ln((1 + D) / (1 + d)) of each token, d of the D training documents holding it; uint8, in
    steps of 1/12 nat.
    """

    citation = "Spärck Jones 1972"
    Options = InverseDocumentFrequencyOptions
    options: InverseDocumentFrequencyOptions

    def fit(
        self, folder: Path, shards: Sequence[Shard], corpus: Path, vocabulary: Vocabulary
    ) -> None:
        """Count the training documents that hold each token of the vocabulary."""
        holding = np.zeros(vocabulary.size, dtype=np.int64)
        for shard in shards:
            if shard.train.documents:
                holding += occurrences_in(
                    corpus / "shards" / shard.name, shard.train.documents
                ).documents_of_each(len(holding))
        documents = sum(shard.train.documents for shard in shards)
        nats = np.log1p(documents) - np.log1p(holding)
        write_array(folder / "documents_of_each_token.npy", holding)
        write_array(
            folder / "steps.npy",
            np.minimum(np.rint(nats * self.options.steps), MOST).astype(np.uint8),
        )

    def mark(self, folder: Path, shard: Path) -> Array:
        """Look every token of a shard up."""
        steps: Array = np.asarray(read_array(folder / "steps.npy"))
        return steps[read_array(shard / "token_ids.npy")]
