"""AdamW and its settings."""

from pydantic import Field
from torch import Tensor, nn
from torch.optim import AdamW

from ernie_cmtl.training.learning_rate import LearningRateConfig


class OptimizerConfig(LearningRateConfig):
    """AdamW and its learning rate; betas and weight decay as in ERNIE (2.0, section 5.1; 1.0's code)."""

    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.98, ge=0, lt=1)
    epsilon: float = Field(1e-6, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    """Not on biases and layer norms."""
    clip_norm: float = Field(1.0, gt=0)
    """Largest norm of the whole gradient."""


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> AdamW:
    """Make the optimizer; biases and layer norms are not decayed."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (free if name.endswith("bias") or "LayerNorm" in name else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), eps=config.epsilon, fused=True)


def step_unless(optimizer: AdamW, skipped: Tensor) -> None:
    """Take a step, or leave weights and moments as they are, bit for bit; skipped: one bool, which stays on its device."""
    # The fused kernel's own switch, made for the scaling of losses.
    optimizer.found_inf = skipped.float()  # type: ignore[attr-defined]
    optimizer.step()
