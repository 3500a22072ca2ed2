"""Document counts: how often a token occurs in its document."""

from pathlib import Path

import numpy as np

from ernie_cmtl.corpus.layers import FittedLayer
from ernie_cmtl.corpus.layers._occurrences import occurrences_in
from ernie_cmtl.records import Array

MOST = np.iinfo(np.uint16).max


class DocumentCounts(FittedLayer):
    """Occurrences of the token in its document, itself among them, up to 65,535; uint16."""

    citation = "ERNIE 2.0, section 4.2.1"

    def mark(self, folder: Path, shard: Path) -> Array:
        """Count every document of a shard."""
        return np.minimum(occurrences_in(shard).counts(), MOST).astype(np.uint16)
