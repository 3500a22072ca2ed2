"""Kinds of heads: what a head reads, what it scores, and what its loss is. One kind a file; its
name is the name of the file.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from ernie_cmtl.model.kernels.dropout import Dropout
from ernie_cmtl.plugins import Plugins
from ernie_cmtl.task import HeadSpec

LabelType = Literal["class", "number", "token"]
StockHead = Literal["SequenceClassification", "TokenClassification", "MultipleChoice"]
"""Classes of transformers that put one linear layer on an encoder: `AutoModelFor...`."""


class ReadEncoder(Protocol):
    """What a head is told of the encoder that it reads."""

    @property
    def hidden_size(self) -> int:
        """Width of the states."""

    @property
    def dropout(self) -> float:
        """Rate of the dropout before a head."""

    @property
    def vocabulary_size(self) -> int:
        """Rows of the word embeddings."""

    def vocabulary_transform(self) -> nn.Module:
        """Make the part of the vocabulary head before the word embeddings; [N, hidden] -> [N,
        hidden].
        """


@dataclass(frozen=True)
class ReadStates:
    """What a head reads of a batch."""

    states: Tensor
    """Of all places, where a kind reads sequences behind the sequence transform; [places,
    hidden].
    """
    shape: torch.Size
    """That the places have in the targets: [N] or [N, candidates]."""
    word_embeddings: Tensor
    """Of the encoder; [vocabulary, hidden]."""


class Head(nn.Module, ABC):
    """States at the places that are read -> scores and losses.

    Every parameter must take part in the losses of any labels: workers reduce all gradients.
    """

    @abstractmethod
    def forward(self, read: ReadStates) -> Tensor:
        """Return the scores of each label; [N, classes], [N, candidates], or [N, 1] for numbers."""

    @abstractmethod
    def losses(
        self, read: ReadStates, labels: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the weighted sum of the losses, and the loss and the hit (1 right, 0 wrong) of
        each label; [] and [N] both.

        weights: [N], at least float32.
        """


class HeadKind(ABC):
    """How the heads of one kind read, score and learn."""

    labels: ClassVar[LabelType]
    """What a label is: the number of a class, a number, or a token of the vocabulary."""
    reads_sequence: ClassVar[bool] = False
    """Does it read [CLS] places through the sequence transform of the encoder; else any places as
    they are.
    """
    stock_head: ClassVar[StockHead | None] = None
    """Class of transformers that scores the same from the same weights; None: there is none."""

    @property
    def is_regression(self) -> bool:
        """Are its labels numbers, which are never right or wrong."""
        return self.labels == "number"

    @property
    def label_dtype(self) -> type[np.generic]:
        """Of the labels in an example."""
        return np.float32 if self.is_regression else np.int64

    def candidates(self, spec: HeadSpec) -> int | None:
        """Return how many places one label chooses among; None: it reads a single one."""
        return None

    def place_shape(self, spec: HeadSpec) -> tuple[int, ...]:
        """Return the shape of the places of one label: () or (candidates,)."""
        candidates = self.candidates(spec)
        return () if candidates is None else (candidates,)

    @abstractmethod
    def losses_and_hits(self, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and the hit (1 right, 0 wrong; for numbers always 0) of each label; [N].

        scores: as `Head.forward` returns them, in any precision.
        """

    def build(self, spec: HeadSpec, encoder: ReadEncoder) -> Head:
        """Make a head, with weights that its caller initialises again where they are `nn.Linear`'s.

        Unless a kind says otherwise, it is one linear layer.
        """
        return LinearHead(self, encoder, spec.classes)

    def weights_of_label(self, spec: HeadSpec, hidden_size: int, vocabulary_size: int) -> int:
        """Return how many weights of the head one label is multiplied with."""
        return hidden_size * spec.classes


class LinearHead(Head):
    """One linear layer: class scores, a number, or a candidate's score."""

    def __init__(self, kind: HeadKind, encoder: ReadEncoder, outputs: int) -> None:
        super().__init__()
        self.kind = kind
        self.dropout = Dropout(encoder.dropout)
        self.dense = nn.Linear(encoder.hidden_size, outputs)

    def forward(self, read: ReadStates) -> Tensor:
        """Return [N, classes]; where a label has several places, the score of each: [N, C]."""
        scores = cast(Tensor, self.dense(self.dropout(read.states)))
        return scores.view(read.shape) if len(read.shape) > 1 else scores

    def losses(
        self, read: ReadStates, labels: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the weighted sum of the losses, and the loss and the hit of each label."""
        losses, hits = self.kind.losses_and_hits(self(read), labels)
        return (losses * weights).sum(), losses, hits


def at_least_float32(scores: Tensor) -> Tensor:
    """Return scores in a precision in which a loss is computed."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


HEAD_KINDS = Plugins(
    HeadKind,  # type: ignore[type-abstract]
    "head kind",
    package=__name__,
    group="ernie_cmtl.head_kinds",
)


@cache
def head_kind(name: str) -> HeadKind:
    """Return the kind of a name.

    Raises:
        UserError: There is no such kind; the message lists those that exist.
    """
    return HEAD_KINDS.find(name)()
