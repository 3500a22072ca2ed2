"""Weights that are set by hand: `tasks.NAME.loss_weight`, and those of the heads."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ernie_cmtl.training.loss_weighting import LossWeighting


class Manual(LossWeighting):
    """A task counts by its share of the step, whatever the number of its labels."""

    def coefficients(self, labels: Tensor, shares: Sequence[float], step: int) -> Tensor:
        """Return share of the task x weights of task and head / labels of both."""
        share = torch.tensor(shares, dtype=torch.float64)
        return self.weights * share[None, :] / labels.clamp(min=1)
