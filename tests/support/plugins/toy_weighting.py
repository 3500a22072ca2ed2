"""A loss rule of one's own: tasks with a small held-out loss count more, and it remembers."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from ernie_cmtl.training.loss_weighting import LossWeighting, WeightingOptions


class ToyOptions(WeightingOptions):
    strength: float = Field(1.0, ge=0)


class ToyWeighting(LossWeighting):
    Options = ToyOptions
    options: ToyOptions
    factors: dict[str, float]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.factors = {}

    def coefficients(self, labels: Tensor, shares: Sequence[float], step: int) -> Tensor:
        factors = [self.factors.get(instance.name, 1.0) for instance in self.instances]
        share = torch.tensor(shares, dtype=torch.float64) * torch.tensor(factors).double()
        return self.weights * share[None, :] / labels.clamp(min=1)

    def measured(self, step: int, losses: Mapping[str, float]) -> None:
        for name, loss in losses.items():
            self.factors[name.partition("/")[0]] = 1 / (1 + self.options.strength * loss)

    def state(self) -> dict[str, Any]:
        return {"factors": self.factors}

    def load(self, state: Mapping[str, Any]) -> None:
        self.factors = dict(state.get("factors", {}))
