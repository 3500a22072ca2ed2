"""Steps whose gradient is far above what it has been lately."""

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor


class Spikes:
    """Judges the norm of each step's gradient by those of the last steps that were taken.

    The norm, and not the loss: it is what moves the weights, one batch early, and the losses of
    different tasks do not compare. Every worker has the same norms after the reduction, so all
    judge alike; nothing is read back from the device.
    """

    def __init__(
        self, window: int, sigma: float, starts: Collection[int], device: torch.device
    ) -> None:
        """window: steps; sigma: standard deviations above their mean; starts: steps before which
        the window is emptied.
        """
        self._sigma, self._starts = sigma, frozenset(starts)
        # Oldest first. Until the window is full its mean is no number, and nothing is greater than
        # that.
        self._empty = torch.full((window,), math.nan, dtype=torch.float64, device=device)
        self._norms = self._empty

    def skips(self, step: int, norm: Tensor, skipped: Tensor) -> Tensor:
        """Tell whether a step is skipped, for its norm or because it is already, and remember the
        norm if not; one bool.
        """
        norms = self._empty if step in self._starts else self._norms
        skipped = skipped | (norm > norms.mean() + self._sigma * norms.std(correction=0))
        self._norms = torch.where(
            skipped, norms, torch.cat([norms[1:], norm.to(norms.dtype)[None]])
        )
        return skipped

    def state(self) -> list[float]:
        """Return the norms in the window, oldest first."""
        return [norm for norm in self._norms.tolist() if not math.isnan(norm)]

    def load(self, state: Sequence[float]) -> None:
        """Take over norms, as far as they have room."""
        kept = torch.tensor(
            list(state)[-len(self._empty) :], dtype=self._empty.dtype, device=self._empty.device
        )
        self._norms = torch.cat([self._empty[len(kept) :], kept])
