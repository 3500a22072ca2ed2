"""AdamW and the learning rate of a step."""

from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.optim import AdamW


class OptimizerConfig(BaseModel):
    """AdamW with linear warm-up and linear decay; betas and weight decay as in ERNIE (2.0, section 5.1; 1.0's code)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(1e-4, gt=0)
    """Peak."""
    warmup_steps: int = Field(0, ge=0)
    final_fraction: float = Field(0.0, ge=0, le=1)
    """Part of the peak that is left at the last step."""
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


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Return the learning rate of a step (from 0) of a run of `steps`."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    return config.learning_rate * (1 - (1 - config.final_fraction) * done)
