"""What rules share that move weight between the losses of a step: what the step weighs in all stays
as it was set by hand.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ernie_cmtl.records import FloatArray
from ernie_cmtl.task import HeadSpec
from ernie_cmtl.task_instance import TaskInstance
from ernie_cmtl.training.loss_weighting import LossWeighting, WeightingOptions


class Balanced(LossWeighting):
    """A loss weighs its weight by hand x a factor of the rule, scaled so that the sum of share x
    weight over a step's losses is that of the weights by hand.
    """

    compares_tasks = True

    def __init__(
        self,
        options: WeightingOptions,
        heads: Mapping[str, HeadSpec],
        instances: Sequence[TaskInstance],
    ) -> None:
        super().__init__(options, heads, instances)
        rows = {name: row for row, name in enumerate(heads)}
        self.places = {
            f"{instance.name}/{spec.name}": (rows[name], number)
            for number, instance in enumerate(instances)
            for name, spec in instance.heads.items()
        }
        """Loss, as `<instance>/<head>` -> its head and its task by number."""

    @abstractmethod
    def factors(self) -> dict[str, float]:
        """Return the factors above 0 of the losses that the rule knows, up to a common one; the
        others keep their weights by hand. Keys: `<instance>/<head>`.
        """

    def scaled(self, factors: FloatArray, parts: FloatArray) -> FloatArray:
        """Return the factors scaled so that sum(parts x factors) = sum(parts).

        parts: share x weight by hand of each loss, not all 0; float64 [N] all three.
        """
        found: FloatArray = factors * (parts.sum() / (parts @ factors))
        return found

    def weights_of(self, shares: Sequence[float]) -> Tensor:
        """Return what each head and task weighs in a step of such shares; float64 [heads,
        tasks].
        """
        served = {
            name: factor
            for name, factor in self.factors().items()
            if shares[self.places[name][1]] > 0
        }
        rows, tasks = ([self.places[name][axis] for name in served] for axis in (0, 1))
        by_hand = self.weights[rows, tasks].numpy()
        parts = by_hand * np.array(shares)[tasks]
        found = self.weights.clone()
        if parts.any():
            scaled = self.scaled(np.array(list(served.values())), parts)
            found[rows, tasks] = torch.from_numpy(by_hand * scaled)
        return found

    def coefficients(self, labels: Tensor, shares: Sequence[float], step: int) -> Tensor:
        """Return share of the task x weight of task and head / labels of both."""
        share = torch.tensor(shares, dtype=torch.float64)
        return self.weights_of(shares) * share[None, :] / labels.clamp(min=1)

    def line(self, shares: Sequence[float]) -> dict[str, Any]:
        """Return the factors, and the weights of all losses in steps of such shares."""
        factors, weights = self.factors(), self.weights_of(shares)
        served = {name: place for name, place in self.places.items() if shares[place[1]] > 0}
        return {
            "factors": factors,
            "weights": {name: float(weights[place]) for name, place in served.items()},
        }
