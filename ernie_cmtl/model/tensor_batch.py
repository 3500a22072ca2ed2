"""A batch on the device."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ernie_cmtl.model.kernels.packed_attention import PackedLayout, to_device
from ernie_cmtl.records import Batch


@dataclass(frozen=True)
class TensorTargets:
    """`BatchTargets` on the device."""

    positions: Tensor
    labels: Tensor
    tasks: Tensor
    idle: bool = False
    """There is only the dummy that keeps the head in the graph."""


@dataclass(frozen=True)
class TensorBatch:
    """`Batch` on the device."""

    token_ids: Tensor
    token_type_ids: Tensor
    task_type_ids: Tensor
    position_ids: Tensor
    layout: PackedLayout
    targets: Mapping[str, TensorTargets]

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> "TensorBatch":
        """Move a batch to a device."""
        arrays = (batch.token_ids, batch.token_type_ids, batch.task_type_ids, batch.position_ids)
        rows, length = batch.token_ids.shape
        layout = PackedLayout(
            batch.sequence_starts, batch.sequence_lengths, rows * length, length, device
        )
        targets = {}
        for name, t in batch.targets.items():
            positions, labels, tasks = (
                to_device(a, device) for a in (t.positions, t.labels, t.tasks)
            )
            targets[name] = TensorTargets(positions, labels, tasks, idle=bool((t.tasks < 0).all()))
        moved = [to_device(a, device) for a in arrays]
        return cls(moved[0], moved[1], moved[2], moved[3], layout, targets)
