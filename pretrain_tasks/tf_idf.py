"""TF-IDF: which tokens of this window does its document keep coming back to, where other documents
do not?
"""

import numpy as np

from ernie_cmtl.records import Array
from ernie_cmtl.task import HeadSpec
from pretrain_tasks._terms import Terms, TermTask


class TfIdf(TermTask):
    """A number from 0 (nowhere else in the document) to 10 (the weightiest term of the window) at
    each token of some weight.
    """

    citation = "Aroca-Ouellette and Rudzicz 2020"
    head = HeadSpec("tf_idf", "token_regression")

    def labels(self, terms: Terms) -> Array:
        """Return ln(1 + count) idf, scaled so that the largest is 10."""
        weights = np.log1p(terms.counts) * terms.idf
        # Where no term comes again, all weights are 0.
        return (10 * weights / (weights.max() or 1.0)).astype(np.float32)
