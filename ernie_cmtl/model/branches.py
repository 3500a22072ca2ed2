"""Layers of an encoder that groups of tasks have for themselves: each branch stands in the place of
the last layers.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn


def new_branches(
    layers: Sequence[nn.Module], private: int, names: Sequence[str]
) -> Mapping[str, nn.ModuleList]:
    """Return copies of the last layers, one set for each name, as one module."""
    last = list(layers)[len(layers) - private :]
    made = {name: nn.ModuleList([deepcopy(layer) for layer in last]) for name in names}
    return cast(Mapping[str, nn.ModuleList], nn.ModuleDict(made))


def copies(
    layers: Sequence[nn.Module], branches: Mapping[str, nn.ModuleList]
) -> Iterator[dict[str, nn.Parameter]]:
    """Yield each parameter of the trunk's last layers with those in its place: branch -> parameter,
    the trunk's under an empty name.
    """
    if not branches:
        return
    private = len(next(iter(branches.values())))
    trunk = nn.ModuleList(list(layers)[len(layers) - private :])
    others = {name: dict(branch.named_parameters()) for name, branch in branches.items()}
    for key, parameter in trunk.named_parameters():
        yield {"": parameter} | {name: found[key] for name, found in others.items()}


@torch.no_grad()
def begin(
    layers: Sequence[nn.Module], branches: Mapping[str, nn.ModuleList], names: Sequence[str]
) -> None:
    """Make branches copies of the trunk; of sharded weights each worker copies its piece."""
    for found in copies(layers, branches):
        for name in names:
            found[name].copy_(found[""])


@torch.no_grad()
def give_to_trunk(
    layers: Sequence[nn.Module], branches: Mapping[str, nn.ModuleList], names: Sequence[str]
) -> None:
    """Put the mean of some copies in the place of the trunk's; names: of branches, the trunk's is
    empty.
    """
    for found in copies(layers, branches):
        found[""].copy_(torch.stack([found[name] for name in names]).mean(0))


@torch.no_grad()
def pull_to_mean(
    layers: Sequence[nn.Module],
    branches: Mapping[str, nn.ModuleList],
    begun: Sequence[str],
    strength: float,
) -> Tensor:
    """Add the gradient of strength x the sum of squared distances between the copies of a parameter
    and their mean; return that sum.

    Parameters without a gradient stay where they are and pull the others. The gradient of the sum
    with respect to a copy is 2 (copy - mean): what the mean changes by cancels out.
    """
    total: Tensor | float = 0.0
    for found in copies(layers, branches):
        parameters = [found[name] for name in ("", *begun)]
        mean = torch.stack([parameter.detach() for parameter in parameters]).mean(0)
        for parameter in parameters:
            apart = parameter - mean
            total = total + apart.square().sum()
            if parameter.grad is not None:
                parameter.grad.add_(apart.to(parameter.grad.dtype), alpha=2 * strength)
    return cast(Tensor, total)
