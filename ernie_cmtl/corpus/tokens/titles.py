"""Titles of documents: a layer beside the text, and never part of it, where a title would give its
order away.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from ernie_cmtl.records import Array

TITLES = "titles"
TITLE_TOKENS = 24
"""Most tokens of a title; what is longer is cut."""


def title_rows(titles: Sequence[str], tokenizer: Tokenizer, token_type: npt.DTypeLike) -> Array:
    """Return the tokens of titles, filled up with 0, which no title holds elsewhere; [documents,
    TITLE_TOKENS].
    """
    rows = np.zeros((len(titles), TITLE_TOKENS), dtype=token_type)
    for row, encoding in zip(
        rows, tokenizer.encode_batch(list(titles), add_special_tokens=False), strict=True
    ):
        token_ids = encoding.ids[:TITLE_TOKENS]
        row[: len(token_ids)] = token_ids
    return rows
