"""AdamW, or Muon for the matrices of the layers beside it, and their settings."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.optim import AdamW, Muon

from ernie_cmtl.training.learning_rate import LearningRateConfig


class OptimizerConfig(LearningRateConfig):
    """The update of the weights and its learning rate; betas and weight decay as in ERNIE (2.0,
    section 5.1; 1.0's code).
    """

    kind: Literal["adamw", "muon"] = "adamw"
    """muon: for the matrices of the encoder's layers, with AdamW for all else and at the learning
    rate of AdamW.
    """
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.98, ge=0, lt=1)
    epsilon: float = Field(1e-6, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    """Not on biases and layer norms."""
    momentum: float = Field(0.95, ge=0, lt=1)
    """Of Muon."""
    clip_norm: float = Field(1.0, gt=0)
    """Largest norm of the whole gradient."""


class Optimizers:
    """One or several optimizers of torch, each with parameters of its own, handled as one."""

    def __init__(self, *parts: AdamW | Muon) -> None:
        self.parts = parts
        self.state: dict[Tensor, dict[str, Any]] = parts[0].state
        for part in parts[1:]:
            part.state = self.state

    @property
    def param_groups(self) -> Iterator[dict[str, Any]]:
        """Every group of parameters, with its settings."""
        for part in self.parts:
            yield from part.param_groups

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def step_unless(self, skipped: Tensor) -> None:
        """Take a step, or leave weights and moments as they are, bit for bit; skipped: one bool, on
        the device.
        """
        for part in self.parts:
            if isinstance(part, AdamW):
                # The fused kernel's own switch, made for the scaling of losses: nobody waits for
                # the device.
                part.found_inf = skipped.float()  # type: ignore[attr-defined]
                part.step()
            elif not skipped:
                part.step()  # type: ignore[no-untyped-call]


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizers:
    """Make the optimizer; biases and layer norms are not decayed."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    matrices: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if config.kind == "muon" and ".layer." in name and parameter.ndim == 2:
            matrices.append(parameter)
        else:
            (free if name.endswith("bias") or "LayerNorm" in name else decayed).append(parameter)
    rate, decay = config.learning_rate, config.weight_decay
    groups = [{"params": decayed, "weight_decay": decay}, {"params": free, "weight_decay": 0.0}]
    adamw = AdamW(
        groups, lr=rate, betas=(config.beta1, config.beta2), eps=config.epsilon, fused=True
    )
    if not matrices:
        return Optimizers(adamw)
    # Updates as large as those of AdamW, so that one learning rate suits both.
    return Optimizers(
        adamw, Muon(matrices, rate, decay, config.momentum, adjust_lr_fn="match_rms_adamw")
    )
