"""Cross entropy over a vocabulary without all scores in memory at once, and with the gradient made
on the way.
"""

from typing import Any, cast

import torch
from torch import Tensor

_BYTES_AT_ONCE = {"cpu": 24 << 20, "cuda": 1 << 29}
"""Scores in memory: on a CPU what its cache holds; on a GPU what bounds the memory."""


def vocabulary_cross_entropy(
    states: Tensor, embeddings: Tensor, bias: Tensor, labels: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weighted sum of the losses, and the loss and the hit (1 right, 0 wrong) of each
    label, without gradient.

    states: [N, hidden]; embeddings: [vocabulary, hidden]; bias: [vocabulary]; labels: int64 [N];
    weights: [N], at least float32.
    """
    kind = states.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        states, embeddings, bias = states.to(dtype), embeddings.to(dtype), bias.to(dtype)
    with torch.autocast(kind, enabled=False):
        backward = torch.is_grad_enabled()
        found = _CrossEntropy.apply(states, embeddings, bias, labels, weights, backward)  # type: ignore[no-untyped-call]
    return cast(tuple[Tensor, Tensor, Tensor], found)


class _CrossEntropy(torch.autograd.Function):
    """The gradient of softmax is at hand while the scores are, so they are neither kept nor made
    again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        embeddings: Tensor,
        bias: Tensor,
        labels: Tensor,
        weights: Tensor,
        backward: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        losses, hits = torch.empty_like(weights), torch.empty_like(weights)
        by_states, by_embeddings, by_bias = (
            torch.empty_like(t) if backward else t for t in (states, embeddings, bias)
        )
        own_weights = weights.to(states.dtype)
        weighted = states * own_weights[:, None]
        at_once = max(
            1,
            _BYTES_AT_ONCE.get(states.device.type, 1 << 29) // (len(embeddings) * states.itemsize),
        )
        for first in range(0, max(1, len(states)), at_once):
            part = slice(first, first + at_once)
            scores = torch.addmm(bias, states[part], embeddings.T)
            largest = scores.amax(-1)
            right = scores.gather(1, labels[part, None]).squeeze(1)
            hits[part] = (right == largest).to(hits.dtype)
            # In bf16 a share has 8 bits, which puts a loss off by up to 0.004; a gradient has no
            # more bits anyway.
            shares = torch.softmax(scores, -1, out=scores)
            losses[part] = (
                largest.to(losses.dtype)
                - right.to(losses.dtype)
                - shares.amax(-1).to(losses.dtype).log()
            )
            if backward:
                torch.mm(shares, embeddings, out=by_states[part])
                # Nothing is read of what the first piece writes.
                by_embeddings.addmm_(shares.T, weighted[part], beta=min(first, 1))
                by_bias.unsqueeze(0).addmm_(own_weights[None, part], shares, beta=min(first, 1))
        if backward:
            # The softmax less one at each label, times the weights.
            by_states.sub_(embeddings[labels]).mul_(weights[:, None])
            by_embeddings.index_add_(0, labels, weighted, alpha=-1)
            by_bias.index_add_(0, labels, weights.to(bias.dtype), alpha=-1)
            ctx.gradients = by_states, by_embeddings, by_bias
        ctx.mark_non_differentiable(losses, hits)
        return (losses * weights).sum(), losses, hits

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        # In place, since the largest is as large as the word embeddings: for one backward pass
        # only.
        made, ctx.gradients = ctx.gradients, None
        if made is None:
            raise RuntimeError("a second backward pass over the same cross entropy")
        return *(gradient.mul_(gradients[0]) for gradient in made), None, None, None
