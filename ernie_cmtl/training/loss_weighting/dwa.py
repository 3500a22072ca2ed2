"""Dynamic weight average: a loss counts more the less it falls."""

import math

from ernie_cmtl.training.loss_weighting._measured import SMALLEST, Measured

TEMPERATURE = 2.0
"""Of the softmax, as in the paper."""
STEEPEST = 20.0
"""A loss that has risen more times over counts as this: it is at the cap anyway, and beside a
larger power the others would vanish.
"""


class DynamicWeightAverage(Measured):
    """T softmax(L(m-1) / L(m-2) / 2) of the last two held-out losses of the T that have two (Liu et
    al. 2019, arXiv 1803.10704).
    """

    def factors(self) -> dict[str, float]:
        """Return the factors of the losses that were measured twice."""
        powers = {
            name: math.exp(_ratio(seen.last, seen.before) / TEMPERATURE)
            for name in self.places
            if (seen := self.seen.get(name)) and seen.before is not None
        }
        total = sum(powers.values())
        return {name: len(powers) * power / total for name, power in powers.items()}


def _ratio(last: float, before: float) -> float:
    return min(STEEPEST, max(last, SMALLEST) / max(before, SMALLEST))
