"""Segments of text -> one sequence: [CLS] first segment [SEP] second segment [SEP] ..."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ernie_cmtl.data.masking_units import knowledge_units
from ernie_cmtl.records import AnnotatedText, Example, Targets
from ernie_cmtl.task import PretrainTask


def assemble(
    task: PretrainTask, segments: Sequence[AnnotatedText], targets: Mapping[str, Targets]
) -> Example:
    """Join segments with special tokens, the number of the segment as token type; targets: places
    in the joined sequence.

    Where the task's options ask for masked tokens, the example knows its units.
    """
    size = 1 + sum(len(segment.token_ids) + 1 for segment in segments)
    token_ids, token_type_ids = np.empty(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    # A special token is a unit of its own.
    units = np.ones(size, dtype=np.uint8) if task.options.masked_tokens else None
    token_ids[0] = task.vocabulary.cls_id
    start = 1
    for number, segment in enumerate(segments):
        stop = start + len(segment.token_ids)
        token_ids[start:stop] = segment.token_ids
        token_ids[stop] = task.vocabulary.sep_id
        if number:
            token_type_ids[start : stop + 1] = number
        if units is not None:
            units[start:stop] = _units(task, segment)
        start = stop + 1
    return Example(token_ids, token_type_ids, targets, (), units)


def _units(task: PretrainTask, segment: AnnotatedText) -> npt.NDArray[np.uint8] | int:
    """Return where units start in a segment; uint8 [T], or one number for all places."""
    return (
        1 if task.options.masking.units == "token" else knowledge_units(segment, task.masked_spans)
    )


def join(examples: Sequence[Example], targets: Mapping[str, Targets]) -> Example:
    """Put sequences into one example, so that they stand in one row; targets: places in all of it
    together.
    """
    lengths = tuple(len(example.token_ids) for example in examples)
    units = [example.unit_starts for example in examples if example.unit_starts is not None]
    return Example(
        np.concatenate([example.token_ids for example in examples]),
        np.concatenate([example.token_type_ids for example in examples]),
        targets,
        lengths,
        np.concatenate(units) if len(units) == len(examples) else None,
    )
