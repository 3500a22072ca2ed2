"""Rotary positions: queries and keys are turned by angles that grow with the place in the sequence
(Su et al. 2021, arXiv 2104.09864).

transformers' own function takes about twice as long on a CPU: it turns in float32 and copies more.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Rotation:
    """The angles of each place of a batch."""

    def __init__(self, cosines: Tensor, sines: Tensor) -> None:
        """cosines, sines: float32 [places, size / 2]."""
        self._angles = torch.cat([cosines, cosines], -1)[:, None], sines[:, None]
        self._cast: dict[torch.dtype, tuple[Tensor, Tensor]] = {}

    def turn(self, states: Tensor) -> Tensor:
        """Turn queries or keys, in their own precision; [places, heads, size] both."""
        if states.dtype not in self._cast:
            cosines, sines = self._angles
            self._cast[states.dtype] = cosines.to(states.dtype), sines.to(states.dtype)
        return cast(Tensor, _Turn.apply(states, *self._cast[states.dtype]))  # type: ignore[no-untyped-call]


class RotaryTable:
    """Angles of all positions, for one size of heads and one base; computed once for a device."""

    def __init__(self, size: int, base: float, positions: int) -> None:
        """size: of a head, even; positions: how many there are."""
        self.size, self.base, self.positions = size, base, positions
        self._tables: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def at(self, position_ids: Tensor) -> Rotation:
        """Return the angles at some positions; int64 of any shape, flattened."""
        device = position_ids.device
        if device not in self._tables:
            # As transformers computes them, so that an export is turned by the same numbers.
            steps = torch.arange(0, self.size, 2, dtype=torch.float32, device=device) / self.size
            places = torch.arange(self.positions, dtype=torch.float32, device=device)
            angles = places[:, None] * (1.0 / (self.base**steps))
            self._tables[device] = angles.cos(), angles.sin()
        flat = position_ids.flatten()
        cosines, sines = (table.index_select(0, flat) for table in self._tables[device])
        return Rotation(cosines, sines)


class NoPositions(nn.Module):
    """Stands where an encoder looks learned positions up."""

    def forward(self, position_ids: Tensor) -> Tensor:
        """Return a zero, which is added to every token."""
        return torch.zeros((), device=position_ids.device)


class _Turn(torch.autograd.Function):
    """The gradient is turned back by the same angles, so nothing but them is kept."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        ctx.save_for_backward(cosines, sines)
        return _turned(states, cosines, sines, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        cosines, sines = ctx.saved_tensors
        return _turned(gradient, cosines, sines, -1), None, None


def _turned(states: Tensor, cosines: Tensor, sines: Tensor, direction: int) -> Tensor:
    half = states.shape[-1] // 2
    found = states * cosines
    found[..., :half].addcmul_(states[..., half:], sines, value=-direction)
    found[..., half:].addcmul_(states[..., :half], sines, value=direction)
    return found
