"""Attention over packed rows: each sequence sees itself alone. Registered with transformers, so its own Ernie layers use it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface

from ernie_cmtl.records import IntArray

NAME = "ernie_cmtl_packed"
_WIDTH_STEP = 32


@dataclass(frozen=True)
class WidthGroup:
    """Sequences of similar length, side by side with a little padding."""

    places: Tensor
    """Places in the flattened batch, padding points at place 0; int64 [N, W]."""
    real: Tensor
    """Is it a token and not padding; bool [N, W]."""
    ragged: bool
    """Does any sequence have padding."""


@dataclass(frozen=True)
class PackedLayout:
    """Where the sequences of a batch lie."""

    groups: tuple[WidthGroup, ...]
    """For the path of plain torch."""
    boundaries: Tensor
    """Cumulative lengths for the variable-length kernel, the tails of rows as sequences of their own; int32 [S + 1]."""
    longest: int

    @classmethod
    def of(cls, starts: IntArray, lengths: IntArray, slots: int, row_length: int, device: torch.device) -> "PackedLayout":
        """Lay out sequences; starts, lengths: int64 [S], in order of place; slots: token places of the batch."""
        groups = tuple(_width_groups(starts, lengths, device))
        row_starts = np.arange(0, slots + 1, row_length)
        edges = np.unique(np.concatenate([row_starts, starts, starts + lengths]))
        boundaries = torch.from_numpy(edges.astype(np.int32)).to(device)
        return cls(groups, boundaries, row_length)


def _width_groups(starts: IntArray, lengths: IntArray, device: torch.device) -> Iterator[WidthGroup]:
    widths = -(-lengths // _WIDTH_STEP) * _WIDTH_STEP
    for width in np.unique(widths):
        members = np.flatnonzero(widths == width)
        width = min(int(width), int(lengths[members].max()))
        offsets = np.arange(width)
        real = offsets[None, :] < lengths[members, None]
        places = np.where(real, starts[members, None] + offsets, 0)
        yield WidthGroup(torch.from_numpy(places).to(device), torch.from_numpy(real).to(device), not bool(real.all()))


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packed_layout: PackedLayout,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend within each packed sequence; query, key, value: [M, heads, L, size]; returns [M, L, heads, size].

    The kernels have no attention dropout, so there is none on any path. Padding gets zeros.
    """
    rows, heads, length, size = query.shape
    query, key, value = (states.transpose(1, 2).reshape(rows * length, heads, size) for states in (query, key, value))
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        from torch.nn.attention.varlen import varlen_attn

        bounds, longest = packed_layout.boundaries, packed_layout.longest
        attended = cast(Tensor, varlen_attn(query, key, value, bounds, bounds, longest, longest))
    else:
        attended = _attend_by_width(query, key, value, packed_layout)
    return attended.reshape(rows, length, heads, size), None


def _attend_by_width(query: Tensor, key: Tensor, value: Tensor, layout: PackedLayout) -> Tensor:
    """Attend in groups of sequences of similar length; query, key, value: [tokens, heads, size]."""
    places, outputs = [], []
    for group in layout.groups:
        shape = (*group.places.shape, *query.shape[1:])
        q, k, v = (t.index_select(0, group.places.flatten()).view(shape).transpose(1, 2) for t in (query, key, value))
        mask = group.real[:, None, None, :] if group.ragged else None
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)
        places.append(group.places[group.real])
        outputs.append(attended[group.real])
    result = query.new_zeros(query.shape)
    return result.index_copy(0, torch.cat(places), torch.cat(outputs)) if places else result


def _no_mask(*_: Any, **__: Any) -> None:
    """Packed attention needs no mask: the layout says who sees whom."""


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, _no_mask)
