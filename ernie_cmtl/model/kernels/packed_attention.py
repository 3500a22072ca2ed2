"""Attention over packed rows: each sequence sees itself alone. Registered with transformers, so its
own Ernie layers use it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from ernie_cmtl.errors import UserError
from ernie_cmtl.model.kernels.attention_by_width import (
    Piece,
    WidthGroup,
    attend_by_width,
    cut_pieces,
    within_window,
)
from ernie_cmtl.model.kernels.rotary import Rotation
from ernie_cmtl.records import IntArray

NAME = "ernie_cmtl_packed"
_WIDTH_STEP = 32


@dataclass(frozen=True)
class PackedLayout:
    """Where the sequences of a batch lie."""

    starts: IntArray
    """In order of place; int64 [S]."""
    lengths: IntArray
    slots: int
    """Token places of the batch."""
    row_length: int
    device: torch.device

    @cached_property
    def groups(self) -> tuple[WidthGroup, ...]:
        """For the path of plain torch."""
        return tuple(_width_groups(self.starts, self.lengths, self.device))

    def pieces(
        self, heads: int, dtype: torch.dtype, radius: int | None = None
    ) -> tuple[Piece, ...]:
        """Return the groups cut for attention in a number of heads; made once for all layers.

        radius: a place sees so many places on each side; None: its whole sequence.
        """
        key = heads, dtype, radius
        if key not in self._pieces:
            self._pieces[key] = tuple(
                cut_pieces(self.groups, self.slots, heads, dtype)
                if radius is None
                else within_window(self.pieces(heads, dtype), radius)
            )
        return self._pieces[key]

    @cached_property
    def _pieces(self) -> dict[tuple[int, torch.dtype, int | None], tuple[Piece, ...]]:
        return {}

    @cached_property
    def boundaries(self) -> Tensor:
        """Cumulative lengths for the variable-length kernel, padding as sequences of its own that
        are no longer than a row; int32 [S + 1].
        """
        ends = self.starts + self.lengths
        edges = np.unique(np.concatenate([[0, self.slots], self.starts, ends]))
        # Only padding is longer than a row.
        cuts = [
            np.arange(start, stop, self.row_length)
            for start, stop in pairwise(edges.tolist())
            if stop - start > self.row_length
        ]
        return to_device(np.unique(np.concatenate([edges, *cuts])).astype(np.int32), self.device)


def _width_groups(
    starts: IntArray, lengths: IntArray, device: torch.device
) -> Iterator[WidthGroup]:
    widths = -(-lengths // _WIDTH_STEP) * _WIDTH_STEP
    for width in np.unique(widths):
        members = np.flatnonzero(widths == width)
        width = min(int(width), int(lengths[members].max()))
        offsets = np.arange(width)
        real = offsets[None, :] < lengths[members, None]
        places = np.where(real, starts[members, None] + offsets, 0)
        yield WidthGroup(to_device(places, device), to_device(real, device))


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array to a device without waiting for what that still has to do."""
    tensor = torch.from_numpy(array)
    # Only a copy from pinned memory runs beside the rest.
    return (
        tensor.pin_memory().to(device, non_blocking=True)
        if device.type == "cuda"
        else tensor.to(device)
    )


# Kernels of its own, and shapes that differ from step to step: nothing to compile here.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packed_layout: PackedLayout,
    rotation: Rotation | None = None,
    radius: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend within each packed sequence; query, key, value: [M, heads, L, size]; returns [M, L,
    heads, size].

    rotation: turns queries and keys first. radius: a place sees so many places on each side; None:
    its whole sequence.

    The kernels have no attention dropout, so there is none on any path. Padding gets zeros.
    """
    rows, heads, length, size = query.shape
    query, key, value = (
        states.transpose(1, 2).reshape(rows * length, heads, size) for states in (query, key, value)
    )
    if rotation:
        query, key = rotation.turn(query), rotation.turn(key)
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        from torch.nn.attention.varlen import varlen_attn

        bounds, longest = packed_layout.boundaries, packed_layout.row_length
        window = window_of_kernel(varlen_attn, radius)
        attended = cast(
            Tensor, varlen_attn(query, key, value, bounds, bounds, longest, longest, **window)
        )
    else:
        pieces = packed_layout.pieces(heads, query.dtype, radius)
        # Each piece takes rows of heads, which parts of one fused matrix do not have.
        attended = attend_by_width(query, key, value.contiguous(), pieces)
    return attended.reshape(rows, length, heads, size), None


def window_of_kernel(kernel: Callable[..., Any], radius: int | None) -> dict[str, Any]:
    """Return the keywords that limit torch's variable-length kernel to a window.

    Raises:
        UserError: This version of torch has no windows.
    """
    if radius is None:
        return {}
    if "window_size" not in signature(kernel).parameters:
        raise UserError(
            f"encoder.local_attention needs a newer torch on a GPU: that of {torch.__version__} "
            "has no windows; update torch, or leave local_attention out"
        )
    return {"window_size": (radius, radius)}


def _no_mask(*_: Any, **__: Any) -> None:
    """Packed attention needs no mask: the layout says who sees whom."""


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, _no_mask)
