"""Cross entropy over a vocabulary without all scores in memory at once, and with the gradient made on the way."""

from typing import Any, cast

import torch
from torch import Tensor

_SCORES_AT_ONCE = {"cpu": 6 << 20, "cuda": 1 << 28}
"""On a CPU what its cache holds; on a GPU what bounds the memory."""


def vocabulary_cross_entropy(
    states: Tensor, embeddings: Tensor, bias: Tensor, labels: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weighted sum of the losses, and the loss and the hit (1 right, 0 wrong) of each label, without gradient.

    states: [N, hidden]; embeddings: [vocabulary, hidden]; bias: [vocabulary]; labels: int64 [N]; weights: [N], at least float32.
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
    """The gradient of softmax is at hand while the scores are, so they are neither kept nor made again."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, embeddings: Tensor, bias: Tensor, labels: Tensor, weights: Tensor, backward: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        losses, hits = torch.empty_like(weights), torch.empty_like(weights)
        by_states, by_embeddings, by_bias = (torch.zeros_like(t) if backward else t for t in (states, embeddings, bias))
        weighted = states * weights[:, None].to(states.dtype)
        at_once = max(1, _SCORES_AT_ONCE.get(states.device.type, 1 << 28) // len(embeddings))
        for first in range(0, len(states), at_once):
            part = slice(first, first + at_once)
            scores = torch.addmm(bias, states[part], embeddings.T).to(weights.dtype)
            largest = scores.amax(-1)
            right = scores.gather(1, labels[part, None]).squeeze(1)
            hits[part] = right == largest
            shares = torch.softmax(scores, -1, out=scores)
            losses[part] = largest - right - shares.amax(-1).log()
            if backward:
                shares = shares.to(states.dtype)
                by_states[part] = shares @ embeddings
                by_embeddings.addmm_(shares.T, weighted[part])
                by_bias.addmv_(shares.T, weights[part].to(shares.dtype))
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
        # In place, since the largest is as large as the word embeddings: for one backward pass only.
        made, ctx.gradients = ctx.gradients, None
        if made is None:
            raise RuntimeError("a second backward pass over the same cross entropy")
        return *(gradient.mul_(gradients[0]) for gradient in made), None, None, None
