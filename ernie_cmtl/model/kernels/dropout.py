"""Dropout that draws its mask 16 bits at a time on a CPU, where the library's own draws take longer
than all else in it.
"""

import torch
from torch import Tensor, nn

_STEPS = 1 << 16


class Dropout(nn.Dropout):
    """`nn.Dropout`; on a CPU the rate is rounded to a multiple of 2^-16."""

    def forward(self, states: Tensor) -> Tensor:
        """Drop elements and scale what stays; states of any shape."""
        if not self.training or not self.p or states.device.type != "cpu":
            return super().forward(states)
        dropped = round(self.p * _STEPS)
        words = torch.empty(-(-states.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: states.numel()].view(states.shape)
        kept = bits.to(torch.float32).ge_(dropped - _STEPS // 2).mul_(_STEPS / (_STEPS - dropped))
        return states * kept.to(states.dtype)


def replace_dropout(module: nn.Module) -> None:
    """Put this dropout in the place of the library's in a module."""
    for name, child in list(module.named_modules()):
        if type(child) is nn.Dropout:
            module.set_submodule(name, Dropout(child.p))
