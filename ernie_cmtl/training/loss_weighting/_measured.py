"""What rules share that decide by held-out losses."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ernie_cmtl.foreign_files import checked
from ernie_cmtl.records import FloatArray
from ernie_cmtl.task import HeadSpec
from ernie_cmtl.task_instance import TaskInstance
from ernie_cmtl.training.loss_weighting import WeightingOptions
from ernie_cmtl.training.loss_weighting._balanced import Balanced

DIVERGED = 10.0
"""A loss of more than this times the first one measured of its head has diverged."""
SMALLEST = 1e-9
"""A loss counts as this at least, and so does a factor beside the largest one: divided by less, it
says no more than that it is very small.
"""


class Bounds(WeightingOptions):
    """How far a weight may be from the one by hand."""

    floor: float = Field(0.5, gt=0, le=1)
    """Minimum weight of a loss, as a multiple of its manual weight."""
    cap: float = Field(2.0, ge=1, allow_inf_nan=False)
    """Maximum weight of a loss, as a multiple of its manual weight."""


@dataclass(frozen=True)
class Seen:
    """What was measured of one loss."""

    first: float
    last: float
    before: float | None = None
    """The one before the last."""


class _State(BaseModel):
    """How it stands in a checkpoint."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    step: int
    seen: dict[str, Seen]


class Measured(Balanced):
    """Decides at each held-out evaluation; a weight stays between floor and cap.

    A loss that is not finite, is negative or has diverged is not taken: what was decided of it
    before stays.
    """

    Options = Bounds
    options: Bounds
    measures = True

    def __init__(
        self,
        options: Bounds,
        heads: Mapping[str, HeadSpec],
        instances: Sequence[TaskInstance],
    ) -> None:
        super().__init__(options, heads, instances)
        self.step = -1
        self.seen: dict[str, Seen] = {}

    def measured(self, step: int, losses: Mapping[str, float]) -> None:
        """Take note of held-out losses after so many steps; losses: by `<instance>/<head>`."""
        # A run that has ended measures its last step again.
        if step == self.step:
            return
        self.step = step
        for name, loss in losses.items():
            seen = self.seen.get(name)
            most = DIVERGED * max(seen.first, SMALLEST) if seen else math.inf
            if 0 <= loss <= most and math.isfinite(loss):
                self.seen[name] = Seen(seen.first, loss, seen.last) if seen else Seen(loss, loss)

    def scaled(self, factors: FloatArray, parts: FloatArray) -> FloatArray:
        """Return the factors scaled so that sum(parts x factors) = sum(parts), and held between
        floor and cap.
        """
        floor, cap = self.options.floor, self.options.cap
        relative = np.maximum(factors / factors.max(), SMALLEST)
        # The sum grows with the scale in straight lines, which meet where a loss comes to a bound.
        scales = np.sort(np.concatenate([floor / relative, cap / relative]))
        sums = np.clip(scales[:, None] * relative, floor, cap) @ parts
        scale = np.interp(parts.sum(), np.maximum.accumulate(sums), scales)
        found: FloatArray = np.clip(scale * relative, floor, cap)
        return found

    def line(self, shares: Sequence[float]) -> dict[str, Any]:
        """Return the factors, and the weights of all losses in steps of such shares; nothing before
        the first decision.
        """
        return super().line(shares) if self.factors() else {}

    def state(self) -> dict[str, Any]:
        """Return what decisions are made of."""
        return {"step": self.step, "seen": {name: asdict(seen) for name, seen in self.seen.items()}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Resume from what `state` returned.

        Raises:
            UserError: A checkpoint holds something else.
        """
        if state:
            found = checked(dict(state), _State, "the loss weighting of a checkpoint")
            self.step, self.seen = found.step, found.seen
