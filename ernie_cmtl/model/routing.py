"""Where the places of a batch go when its sequences run through the layers of several branches.

Sequences do not see each other, so those of one branch can be laid side by side, and each branch
runs over a slice of the whole: no more operations than without branches.
"""

from dataclasses import dataclass

import numpy as np

from ernie_cmtl.records import Batch, IntArray

MULTIPLE = 32
"""Places of a branch are a multiple of this. On a CPU, a product of matrices of a new shape first
has a kernel made, which takes longer than the product; so there are few shapes.
"""


def padding_places(branches: int) -> int:
    """Return how many places of padding branches add to a batch, the same for each batch."""
    return MULTIPLE * (branches + 1)


@dataclass(frozen=True)
class Routed:
    """The places of a batch, those of each branch side by side."""

    order: IntArray
    """What stands at each place: a place of the flattened batch, or one of padding behind it, which
    fills slices up; int64 [P].
    """
    edges: IntArray
    """Where the slices of trunk and branches begin and end; int64 [branches + 2]."""
    moved: IntArray
    """Place of the flattened batch -> where it is now; int64 [slots]."""
    starts: IntArray
    """Of sequences, in order of place; int64 [S]."""
    lengths: IntArray


def lay_out(batch: Batch, branch_of: IntArray | None, branches: int) -> Routed:
    """Lay the sequences of each branch side by side, in their order: those of the trunk first, then
    the padding of the batch, then each branch. Padding stands before each of them, at least one
    place, so that its layers run where none of its tasks has a sample.

    branch_of: of each task, 0 for the trunk, int64 [tasks]; None: all on the trunk.
    """
    slots, lengths = batch.token_ids.size, batch.sequence_lengths
    count = slots + padding_places(branches)
    owner = np.zeros(count, dtype=np.int64)
    # Within a slice: its own padding, sequences, other padding.
    turn = np.full(count, 2)
    turn[slots:] = 0
    places = sequence_places(batch.sequence_starts, lengths)
    turn[places] = 1
    if branch_of is not None and len(batch.sequence_tasks):
        owner[places] = np.repeat(branch_of[batch.sequence_tasks], lengths)
    used = np.bincount(owner[places], minlength=branches + 1)[1:]
    filled = -(used + 1) % MULTIPLE + 1
    # Each branch is filled up; the trunk gets what is left.
    owner[slots : slots + filled.sum()] = np.repeat(np.arange(1, branches + 1), filled)
    order = np.lexsort((np.arange(count), turn, owner))
    moved = np.empty_like(order)
    moved[order] = np.arange(len(order))
    starts = moved[batch.sequence_starts]
    in_order = np.argsort(starts)
    edges = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=branches + 1))])
    return Routed(order, edges, moved[:slots], starts[in_order], lengths[in_order])


def sequence_places(starts: IntArray, lengths: IntArray) -> IntArray:
    """Return the places of sequences, one sequence after the other; int64 [sum of lengths]."""
    ends = np.cumsum(lengths)
    counted = np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
    places: IntArray = np.repeat(starts, lengths) + counted
    return places
