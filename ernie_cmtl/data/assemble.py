"""Segments of text -> one sequence: [CLS] first segment [SEP] second segment [SEP] ..."""

from collections.abc import Sequence

import numpy as np

from ernie_cmtl.records import IntArray, Vocabulary


def assemble(segments: Sequence[IntArray], vocabulary: Vocabulary) -> tuple[IntArray, IntArray]:
    """Join segments with special tokens; return token ids and token types (number of the segment), int64 [T] both."""
    sep = np.array([vocabulary.sep_id])
    parts = [np.array([vocabulary.cls_id])]
    for segment in segments:
        parts += [segment, sep]
    lengths = [len(segment) + 1 for segment in segments]
    lengths[0] += 1
    return np.concatenate(parts), np.repeat(np.arange(len(segments)), lengths)
