"""Layers of an encoder that groups of tasks have for themselves: each branch stands in the place of
the last layers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ernie_cmtl.model.read_places import ReadPlaces
from ernie_cmtl.model.tensor_batch import TensorBatch, TensorPlaces


def new_branches(
    layers: Sequence[nn.Module], private: int, names: Sequence[str]
) -> Mapping[str, nn.ModuleList]:
    """Return copies of the last layers, one set for each name, as one module."""
    last = list(layers)[len(layers) - private :]
    made = {name: nn.ModuleList([deepcopy(layer) for layer in last]) for name in names}
    return cast(Mapping[str, nn.ModuleList], nn.ModuleDict(made))


class LastStates(NamedTuple):
    """What the last layers of trunk and branches give."""

    read: Tensor
    """Of the places that are read, or of all, in the order of the batch; [1, N, hidden]."""
    whole: Tensor
    """The same, slice after slice, with a place of each slice before it."""


def run_slices(
    states: Tensor,
    batch: TensorBatch,
    layers: Sequence[Iterable[nn.Module]],
    inputs: Callable[[TensorPlaces], dict[str, Any]],
    read: ReadPlaces | None,
    inner: bool,
) -> tuple[LastStates, list[Tensor]]:
    """Run the private layers of the trunk and of each branch over its slice; return what the last
    ones give, and, if inner, what each depth took, [1, P, hidden].

    states: [1, P, hidden]; layers: of the trunk and of each branch; inputs: returns what every
    layer takes beside the states.
    """
    reads, back = (None, batch.moved) if read is None else read.by_slice(batch.slices)
    assert back is not None, "a batch with slices was laid out by branch"
    lasts: list[Tensor] = []
    taken: list[list[Tensor]] = []
    for number, (part, own) in enumerate(zip(batch.slices, layers, strict=True)):
        found, keywords = states[:, part.start : part.stop], inputs(part)
        taken.append([])
        *lower, last = own
        for layer in lower:
            taken[-1] += [found] if inner else []
            found = layer(found, **keywords)
        taken[-1] += [found] if inner else []
        lasts.append(last(found, **keywords, read=reads and reads[number]))
    whole = torch.cat(lasts, 1)
    lower_states = [torch.cat(parts, 1) for parts in zip(*taken, strict=True)]
    return LastStates(whole.index_select(1, back), whole), lower_states


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
    layers: Sequence[nn.Module],
    branches: Mapping[str, nn.ModuleList],
    parents: Mapping[str, str],
) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """Make branches copies of others; of sharded weights each worker copies its piece. Return each
    parameter with the one that it is a copy of.

    parents: branch -> the branch that it copies; the trunk's name is empty.
    """
    pairs = [
        (found[name], found[parent])
        for found in copies(layers, branches)
        for name, parent in parents.items()
    ]
    for parameter, parent in pairs:
        parameter.copy_(parent)
    return pairs


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
