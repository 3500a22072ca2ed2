"""Segments of text -> one sequence: [CLS] first segment [SEP] second segment [SEP] ..."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ernie_cmtl.data.units import knowledge_units
from ernie_cmtl.records import AnnotatedText, Example, Targets
from ernie_cmtl.task import PretrainTask


def assemble(task: PretrainTask, segments: Sequence[AnnotatedText], targets: Mapping[str, Targets]) -> Example:
    """Join segments with special tokens, the number of the segment as token type; targets: places in the joined sequence.

    Where the task's options ask for masked tokens, the example knows its units.
    """
    vocabulary, options = task.vocabulary, task.options
    sep = np.array([vocabulary.sep_id])
    parts = [np.array([vocabulary.cls_id])]
    for segment in segments:
        parts += [segment.token_ids, sep]
    lengths = [len(segment.token_ids) + 1 for segment in segments]
    lengths[0] += 1
    units = np.concatenate(list(_units(task, segments))) if options.masked_tokens else None
    return Example(np.concatenate(parts), np.repeat(np.arange(len(segments)), lengths), targets, (), units)


def _units(task: PretrainTask, segments: Sequence[AnnotatedText]) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield where units start in each segment and its special tokens; uint8."""
    special = np.ones(1, dtype=np.uint8)
    yield special
    for segment in segments:
        if task.options.masking.units == "token":
            yield np.ones(len(segment.token_ids), dtype=np.uint8)
        else:
            yield knowledge_units(segment, task.masked_spans)
        yield special


def join(examples: Sequence[Example], targets: Mapping[str, Targets]) -> Example:
    """Put sequences into one example, so that they stand in one row; targets: places in all of it together."""
    lengths = tuple(len(example.token_ids) for example in examples)
    units = [example.unit_starts for example in examples if example.unit_starts is not None]
    return Example(
        np.concatenate([example.token_ids for example in examples]),
        np.concatenate([example.token_type_ids for example in examples]),
        targets,
        lengths,
        np.concatenate(units) if len(units) == len(examples) else None,
    )
