"""Token and document: does a token of this window stand elsewhere in its document too? Telling
tokens do, and common ones.
"""

import numpy as np

from ernie_cmtl.records import Array
from ernie_cmtl.task import HeadSpec
from pretrain_tasks._terms import Terms, TermTask


class TokenDocumentRelation(TermTask):
    """Two classes at each token that does not stand in most documents anyway."""

    citation = "ERNIE 2.0, section 4.2.1"
    head = HeadSpec(
        "elsewhere", "token_class", classes=2, class_names=("here alone", "elsewhere too")
    )

    def labels(self, terms: Terms) -> Array:
        """Return 1 where a term stands in the rest too."""
        return (terms.counts > 0).astype(np.int64)
