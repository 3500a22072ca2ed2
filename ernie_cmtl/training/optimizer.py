"""AdamW, or Muon for the matrices of the layers beside it, and their settings."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.optim import AdamW, Muon

from ernie_cmtl.errors import UserError
from ernie_cmtl.training.learning_rate import LearningRateConfig


class OptimizerConfig(LearningRateConfig):
    """The update of the weights and its learning rate; betas and weight decay as in ERNIE (2.0,
    section 5.1; 1.0's code).
    """

    kind: Literal["adamw", "muon"] = "adamw"
    """Optimizer. muon: Muon for the matrices of the encoder's layers and AdamW for all other
    weights, with AdamW's learning rate.
    """
    beta1: float = Field(0.9, ge=0, lt=1)
    """AdamW's decay rate for the mean of the gradients."""
    beta2: float = Field(0.98, ge=0, lt=1)
    """AdamW's decay rate for the mean of the squared gradients."""
    epsilon: float = Field(1e-6, gt=0)
    """AdamW's epsilon, added to the denominator."""
    weight_decay: float = Field(0.01, ge=0)
    """Weight decay. Biases and layer norms have none."""
    momentum: float = Field(0.95, ge=0, lt=1)
    """Momentum of Muon."""
    clip_norm: float = Field(1.0, gt=0)
    """Maximum norm of the whole gradient; a larger gradient is scaled down."""


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

    def copy_state(self, pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Give parameters the moments of others; pairs: a parameter, and the one it gets them
        from.
        """
        for parameter, source in pairs:
            self.state[parameter].update(
                (entry, value.clone()) for entry, value in self.state[source].items()
            )

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


def build_optimizer(
    model: nn.Module,
    config: OptimizerConfig,
    norms: tuple[type[nn.Module], ...],
    matrices: Collection[nn.Parameter],
) -> Optimizers:
    """Make the optimizer; biases and the weights of norms are not decayed.

    norms: kinds of modules; matrices: what Muon updates, where it is asked for.

    Raises:
        UserError: Muon is asked for and there are no matrices.
    """
    if config.kind == "muon" and not matrices:
        raise UserError("optimizer.kind 'muon' finds no matrix in the encoder; accepted: adamw")
    chosen = {id(matrix) for matrix in matrices} if config.kind == "muon" else set()
    of_norms = {
        id(weight)
        for module in model.modules()
        if isinstance(module, norms)
        for weight in module.parameters(recurse=False)
    }
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if id(parameter) not in chosen:
            is_free = id(parameter) in of_norms or name.endswith("bias")
            (free if is_free else decayed).append(parameter)
    rate, decay = config.learning_rate, config.weight_decay
    groups = [{"params": decayed, "weight_decay": decay}, {"params": free, "weight_decay": 0.0}]
    adamw = AdamW(
        groups, lr=rate, betas=(config.beta1, config.beta2), eps=config.epsilon, fused=True
    )
    if not chosen:
        return Optimizers(adamw)
    # Updates as large as those of AdamW, so that one learning rate suits both.
    return Optimizers(
        adamw, Muon(list(matrices), rate, decay, config.momentum, adjust_lr_fn="match_rms_adamw")
    )
