"""How the states of the tokens of a text become one vector."""

import torch
from torch import Tensor


def pooled(states: Tensor, inside: Tensor, pooling: str) -> Tensor:
    """Return a vector for each text; [N, hidden].

    states: [N, L, hidden]; inside: is there a token, [N, L]; pooling: mean, cls (the first token)
    or max.
    """
    if pooling == "cls":
        return states[:, 0]
    there = inside[..., None].bool()
    if pooling == "max":
        return states.masked_fill(~there, -torch.inf).amax(1)
    return states.masked_fill(~there, 0).sum(1) / there.sum(1)
