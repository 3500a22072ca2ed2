"""Term frequency: how often does a token of this window stand in the rest of its document?"""

import numpy as np

from ernie_cmtl.records import Array
from ernie_cmtl.task import HeadSpec
from pretrain_tasks._terms import Terms, TermTask


class TermFrequency(TermTask):
    """A number from 0 (nowhere else) to 10 (the rest is this token alone) at each token of some
    weight.
    """

    citation = "Aroca-Ouellette and Rudzicz 2020"
    head = HeadSpec("term_frequency", "token_regression")

    def labels(self, terms: Terms) -> Array:
        """Return 10 ln(1 + count) / ln(1 + tokens of the rest)."""
        labels: Array = 10 * np.log1p(terms.counts) / np.log1p(terms.rest)
        return labels.astype(np.float32)
