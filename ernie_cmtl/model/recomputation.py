"""Activations that are computed again in the backward pass, by the switch of transformers' own
layers.
"""

from collections.abc import Iterable

from torch import nn

from ernie_cmtl.errors import UserError


def recompute(
    module: nn.Module, first: nn.Module, layers: Iterable[nn.Module], architecture: str
) -> None:
    """Keep only the input of each layer for the backward pass.

    module: of transformers; first: its first layer; layers: all that take part, those of branches
    too; architecture: for the message.

    Raises:
        UserError: The module has no such switch.
    """
    # The older name is deprecated in newer versions of transformers, the newer one is not there
    # in older ones.
    enable = getattr(module, "activation_checkpointing_enable", None) or getattr(
        module, "gradient_checkpointing_enable", None
    )
    if enable is None:
        raise UserError(
            f"encoder.architecture {architecture!r} cannot compute activations again; set "
            "training.gradient_checkpointing=false"
        )
    enable({"use_reentrant": False})
    for layer in layers:
        # Branches are no part of the module.
        for name in ("gradient_checkpointing", "_gradient_checkpointing_func"):
            if hasattr(first, name):
                setattr(layer, name, getattr(first, name))
