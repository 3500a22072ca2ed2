"""Document counts: how often a token occurs in its document."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ernie_cmtl.corpus.layers import FittedLayer
from ernie_cmtl.corpus.manifest import Shard
from ernie_cmtl.corpus.occurrences import occurrences_in
from ernie_cmtl.records import Array

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST = np.iinfo(np.uint16).max


class DocumentCounts(FittedLayer):
    """Occurrences of the token in its document, itself among them, up to 65,535; uint16."""

    source = "ERNIE 2.0, section 4.2.1"

    def fit(self, folder: Path, shards: Sequence[Shard], corpus: Path, tokenizer: "PreTrainedTokenizerBase") -> None:
        """Learn nothing: each document is counted by itself."""

    def mark(self, folder: Path, shard: Path) -> Array:
        """Count every document of a shard."""
        return np.minimum(occurrences_in(shard).counts(), MOST).astype(np.uint16)
