"""Losses that several kinds of heads share."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ernie_cmtl.head_kinds import HeadKind, LabelType, at_least_float32


class ClassLabels(HeadKind):
    """Cross entropy over classes or candidates."""

    labels: ClassVar[LabelType] = "class"

    def losses_and_hits(self, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """scores: [N, classes]; labels: int64 [N]."""
        scores = at_least_float32(scores)
        losses = functional.cross_entropy(scores, labels, reduction="none")
        return losses, (scores.detach().argmax(-1) == labels).to(losses)


class NumberLabels(HeadKind):
    """Squared error."""

    labels: ClassVar[LabelType] = "number"

    def losses_and_hits(self, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """scores: [N, 1]; labels: float32 [N]."""
        scores = at_least_float32(scores)
        losses = functional.mse_loss(scores.squeeze(-1), labels, reduction="none")
        return losses, torch.zeros_like(losses)
