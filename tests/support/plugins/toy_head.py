"""A head kind of one's own: the angle between a state and a learned vector of each class, and a
margin loss.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ernie_cmtl.head_kinds import (
    Head,
    HeadKind,
    LinearHead,
    ReadEncoder,
    ReadStates,
    at_least_float32,
)
from ernie_cmtl.task import HeadSpec


class ToyHead(HeadKind):
    labels = "class"

    def losses_and_hits(self, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        scores = at_least_float32(scores)
        losses = functional.multi_margin_loss(scores, labels, reduction="none")
        return losses, (scores.detach().argmax(-1) == labels).to(losses)

    def build(self, spec: HeadSpec, encoder: ReadEncoder) -> Head:
        return AngleHead(self, encoder, spec.classes)


class AngleHead(LinearHead):
    def __init__(self, kind: HeadKind, encoder: ReadEncoder, outputs: int) -> None:
        super().__init__(kind, encoder, outputs)
        self.dense = nn.Linear(encoder.hidden_size, outputs, bias=False)
        self.sharpness = nn.Parameter(torch.tensor([5.0]))

    def forward(self, read: ReadStates) -> Tensor:
        unit = functional.normalize(read.states, dim=-1)
        return self.sharpness * unit @ functional.normalize(self.dense.weight, dim=-1).T
