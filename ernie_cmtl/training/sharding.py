"""Weights, gradients and moments cut up over the workers by torch's `fully_shard` (FSDP2), and made
whole again.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from ernie_cmtl.model.multitask import MultiTaskModel

Sharding = Literal["none", "full"]


def shard(model: MultiTaskModel, mesh: DeviceMesh, reduce_dtype: torch.dtype) -> None:
    """Leave each worker its piece of every weight; layers are gathered one at a time, what is
    around them for the whole step.

    reduce_dtype: of the gradients that workers add up.
    """
    policy = MixedPrecisionPolicy(reduce_dtype=reduce_dtype)
    for layer in model.family.all_layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    # Heads and word embeddings stay in one piece of the model, so that a head may read the
    # embeddings that it is tied to.
    fully_shard(model, mesh=mesh, mp_policy=policy)
    # A head may be scored before the first step, and torch takes what is called first for the
    # outermost part.
    for method in (model.head_scores, model.masked_token_scores):
        register_fsdp_forward_method(model, method.__name__)


@contextmanager
def gradients_kept(model: FSDPModule) -> Iterator[None]:
    """Keep the gradients of a backward pass for a later one to reduce."""
    model.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        model.set_requires_gradient_sync(True)


@contextmanager
def whole_weights(model: nn.Module) -> Iterator[None]:
    """Give each worker all weights, so that it can compute what the others do not; without sharding
    it has them anyway.
    """
    sharded = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for module in sharded:
        module.unshard()
    # The first is the model, whose own weights are not given up in between.
    for layer in sharded[1:]:
        layer.set_reshard_after_forward(False)
    try:
        yield
    finally:
        for layer in sharded[1:]:
            layer.set_reshard_after_forward(True)
        for module in sharded:
            module.reshard()


def whole(value: Tensor) -> Tensor:
    """Put the pieces of a tensor together, if it is sharded; all workers have to ask for it."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Make sharded tensors whole one after the other, in the memory of the first worker's machine;
    others do not keep them.
    """
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        complete = whole(value)
        if not isinstance(value, DTensor):
            found[name] = complete
        elif value.device_mesh.get_rank() == 0:
            found[name] = complete.cpu()
    return found


def placed(value: Tensor, like: Tensor) -> Tensor:
    """Return a whole tensor where another one is; where that one is sharded and of the same shape,
    this worker's piece.
    """
    value = value.to(like.device)
    if isinstance(like, DTensor) and value.shape == like.shape:
        # Every worker has read the whole: nothing is sent.
        return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
    return value


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float) -> Tensor:
    """Scale gradients down to a largest norm of all of them together, whoever has them; return the
    norm before.
    """
    moved = [parameter for parameter in parameters if parameter.grad is not None]
    norm = whole(get_total_norm([cast(Tensor, parameter.grad) for parameter in moved]))
    clip_grads_with_norm_(moved, largest, norm)
    return norm
