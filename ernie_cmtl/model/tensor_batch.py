"""A batch on the device."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ernie_cmtl.model.kernels.packed_attention import PackedLayout, to_device
from ernie_cmtl.model.routing import lay_out, padding_places, sequence_places
from ernie_cmtl.records import Batch, IntArray


@dataclass(frozen=True)
class TensorTargets:
    """`BatchTargets` on the device."""

    positions: Tensor
    labels: Tensor
    tasks: Tensor
    on_host: IntArray
    """The places again."""
    idle: bool = False
    """There is only the dummy that keeps the head in the graph."""


@dataclass(frozen=True)
class TensorPlaces:
    """Places that layers run over: those of a batch, or of one of its slices."""

    position_ids: Tensor
    """Counted from 0 in each sequence; int64 [M, L]."""
    layout: PackedLayout


@dataclass(frozen=True)
class TensorBatch(TensorPlaces):
    """`Batch` on the device."""

    token_ids: Tensor
    token_type_ids: Tensor
    task_type_ids: Tensor
    targets: Mapping[str, TensorTargets]
    slices: tuple["BatchSlice", ...] = ()
    """Of the trunk and of each branch, in this order; empty where there are no branches."""
    moved: Tensor | None = None
    """Place of the batch as it was -> where branches have put it; int64 [slots]."""
    groups: Tensor | None = None
    """Of each place, counted from 1, 0 for the trunk; int64 [slots]."""
    fed: Mapping[str, Tensor] = field(default_factory=dict)
    """Head -> places whose states get what it predicts; int64 [N]."""

    @classmethod
    def of(
        cls,
        batch: Batch,
        device: torch.device,
        branch_of: IntArray | None = None,
        branches: int = 0,
    ) -> "TensorBatch":
        """Move a batch to a device.

        branch_of: of each task, 0 for the trunk, int64 [tasks]; None: all on the trunk. branches:
        how many there are; with any, the places of each stand side by side in one row.
        """
        if branches:
            return _routed(batch, device, branch_of, branches)
        rows, length = batch.token_ids.shape
        return cls(
            position_ids=to_device(batch.position_ids, device),
            layout=PackedLayout(
                batch.sequence_starts, batch.sequence_lengths, rows * length, length, device
            ),
            token_ids=to_device(batch.token_ids, device),
            token_type_ids=to_device(batch.token_type_ids, device),
            task_type_ids=to_device(batch.task_type_ids, device),
            targets=_targets(batch, device),
        )


def groups_of(batch: Batch, group_of: IntArray, device: torch.device) -> Tensor:
    """Return the group of each place; int64 [slots]. group_of: of each task, 0 for the trunk."""
    found = np.zeros(batch.token_ids.size, dtype=np.int64)
    if len(batch.sequence_tasks):
        places = sequence_places(batch.sequence_starts, batch.sequence_lengths)
        found[places] = np.repeat(group_of[batch.sequence_tasks], batch.sequence_lengths)
    return to_device(found, device)


@dataclass(frozen=True)
class BatchSlice(TensorPlaces):
    """The places that run through the trunk's private layers, or through one branch."""

    start: int
    stop: int


def _targets(
    batch: Batch, device: torch.device, moved: IntArray | None = None
) -> dict[str, TensorTargets]:
    targets = {}
    for name, t in batch.targets.items():
        places = t.positions if moved is None else moved[t.positions]
        positions, labels, tasks = (to_device(a, device) for a in (places, t.labels, t.tasks))
        idle = bool((t.tasks < 0).all())
        targets[name] = TensorTargets(positions, labels, tasks, places, idle)
    return targets


def _routed(
    batch: Batch, device: torch.device, branch_of: IntArray | None, branches: int
) -> TensorBatch:
    """Move a batch whose places were sorted by branch, as one row."""
    places = lay_out(batch, branch_of, branches)
    length = batch.token_ids.shape[1]

    def layout(starts: IntArray, lengths: IntArray, slots: int) -> PackedLayout:
        return PackedLayout(starts, lengths, slots, length, device)

    def sorted_by_branch(array: IntArray) -> Tensor:
        more = np.zeros(padding_places(branches), dtype=np.int64)
        padded = np.concatenate([array.flatten(), more])
        return to_device(padded[places.order][None], device)

    positions = sorted_by_branch(batch.position_ids)
    slices = []
    for start, stop in zip(places.edges[:-1].tolist(), places.edges[1:].tolist(), strict=True):
        inside = (places.starts >= start) & (places.starts < stop)
        own = layout(places.starts[inside] - start, places.lengths[inside], stop - start)
        slices.append(BatchSlice(positions[:, start:stop], own, start, stop))
    return TensorBatch(
        position_ids=positions,
        layout=layout(places.starts, places.lengths, len(places.order)),
        token_ids=sorted_by_branch(batch.token_ids),
        token_type_ids=sorted_by_branch(batch.token_type_ids),
        task_type_ids=sorted_by_branch(batch.task_type_ids),
        targets=_targets(batch, device, places.moved),
        slices=tuple(slices),
        moved=to_device(places.moved, device),
    )
