"""Attention over sequences of similar length side by side, in pieces whose scores stay in a
processor's cache.

torch's own kernel for CPUs takes four times as long in bf16 and sequences of 128, twice as long in
512, forward and backward.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_SCORES_AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 28}
"""On a CPU what its cache holds; on a GPU what bounds the memory."""


@dataclass(frozen=True)
class WidthGroup:
    """Sequences of similar length, side by side with a little padding."""

    places: Tensor
    """Places in the flattened batch, padding points at place 0; int64 [N, W]."""
    real: Tensor
    """Is it a token and not padding; bool [N, W]."""


@dataclass(frozen=True)
class Piece:
    """Some sequences of a width group, head by head."""

    source: Tensor
    """Rows of [tokens x heads, size] that are read; padding reads the first; int64 [N x heads x
    W].
    """
    target: Tensor
    """Rows that are written, padding behind the last; int64 [N x heads x W]."""
    mask: Tensor
    """What is added to the scores: minus infinity where a key is padding; [N x heads, 1, W]."""
    band: Tensor | None = None
    """Added too: a large negative number where a key is outside the window; [W, W]. None: no key
    is.
    """


def cut_pieces(
    groups: Sequence[WidthGroup], tokens: int, heads: int, dtype: torch.dtype
) -> Iterator[Piece]:
    """Cut groups into pieces for a number of heads; tokens: places of the batch; dtype: of the
    states.
    """
    for group in groups:
        width = group.places.shape[1]
        at_once = max(
            1, _SCORES_AT_ONCE.get(group.places.device.type, 1 << 28) // (heads * width * width)
        )
        head = torch.arange(heads, device=group.places.device)[None, :, None]
        for places, real in zip(
            torch.split(group.places, at_once), torch.split(group.real, at_once), strict=True
        ):
            source = places[:, None, :] * heads + head
            target = torch.where(real[:, None, :], source, tokens * heads)
            mask = torch.zeros_like(places, dtype=dtype).masked_fill_(~real, -torch.inf)
            yield Piece(
                source.flatten(), target.flatten(), mask.repeat_interleave(heads, 0)[:, None, :]
            )


def within_window(pieces: Iterable[Piece], radius: int) -> Iterator[Piece]:
    """Limit what a place sees to `radius` places on each side of it."""
    bands: dict[int, Tensor] = {}
    for piece in pieces:
        width = piece.mask.shape[-1]
        if width <= radius + 1:
            yield piece
            continue
        if width not in bands:
            place = torch.arange(width, device=piece.mask.device)
            far = (place[:, None] - place[None, :]).abs() > radius
            # Finite: a row of padding may have no real key in its window, and softmax over
            # nothing but minus infinity is not a number.
            lowest = torch.finfo(piece.mask.dtype).min / 2
            bands[width] = torch.zeros_like(far, dtype=piece.mask.dtype).masked_fill_(far, lowest)
        yield replace(piece, band=bands[width])


def attend_by_width(query: Tensor, key: Tensor, value: Tensor, pieces: Sequence[Piece]) -> Tensor:
    """Attend within each sequence; query, key, value: [tokens, heads, size]; returns the same
    shape, zeros beside sequences.
    """
    return cast(Tensor, _AttentionByWidth.apply(query, key, value, pieces))  # type: ignore[no-untyped-call]


class _AttentionByWidth(torch.autograd.Function):
    """The weights are made again in the backward pass: they are larger than all else, and quick to
    make.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, pieces: Sequence[Piece]
    ) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.pieces = pieces
        result = _rows(query)
        for piece in pieces:
            q, k, v = (_take(states, piece.source, piece) for states in (query, key, value))
            result.index_copy_(0, piece.target, torch.bmm(_weights(q, k, piece), v).flatten(0, 1))
        return result[:-1].view(query.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        by_query, by_key, by_value = (_rows(states) for states in (query, key, value))
        # Padding has no gradient: it reads zeros behind the last row.
        padded = torch.cat([gradient.flatten(0, 1), gradient.new_zeros(1, gradient.shape[-1])])
        scale = query.shape[-1] ** -0.5
        for piece in ctx.pieces:
            q, k, v = (_take(states, piece.source, piece) for states in (query, key, value))
            by_output = _take(padded, piece.target, piece)
            weights = _weights(q, k, piece)
            by_value.index_copy_(0, piece.target, torch.bmm(weights.mT, by_output).flatten(0, 1))
            by_scores = torch._softmax_backward_data(
                torch.bmm(by_output, v.mT), weights, -1, weights.dtype
            )
            by_query.index_copy_(0, piece.target, torch.bmm(by_scores, k).mul_(scale).flatten(0, 1))
            by_key.index_copy_(
                0, piece.target, torch.bmm(by_scores.mT, q).mul_(scale).flatten(0, 1)
            )
        return *(rows[:-1].view(query.shape) for rows in (by_query, by_key, by_value)), None


def _weights(query: Tensor, key: Tensor, piece: Piece) -> Tensor:
    """query, key: [B, W, size]; returns [B, W, W]."""
    scores = torch.baddbmm(piece.mask, query, key.mT, alpha=query.shape[-1] ** -0.5)
    if piece.band is not None:
        scores.add_(piece.band)
    return torch.softmax(scores, -1, out=scores)


def _take(states: Tensor, rows: Tensor, piece: Piece) -> Tensor:
    """states: [..., size]; returns [B, W, size]."""
    size = states.shape[-1]
    return states.reshape(-1, size).index_select(0, rows).view(len(piece.mask), -1, size)


def _rows(states: Tensor) -> Tensor:
    """Return zeros for each place and head, and a row behind them that takes what padding
    writes.
    """
    tokens, heads, size = states.shape
    return states.new_zeros(tokens * heads + 1, size)
