"""Weights by uncertainty, as they are where they have settled for the losses of the moment."""

from ernie_cmtl.training.loss_weighting._measured import SMALLEST, Measured


class Uncertainty(Measured):
    """1 / L of the last held-out loss: the optimum of sum(exp(-s) L + s) over s (Kendall et al.
    2018, arXiv 1705.07115; solved by Kirchdorfer et al. 2024, arXiv 2408.07985).
    """

    def factors(self) -> dict[str, float]:
        """Return the factors of the losses that were measured."""
        return {
            name: 1 / max(self.seen[name].last, SMALLEST)
            for name in self.places
            if name in self.seen
        }
