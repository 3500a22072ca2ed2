"""The token at a place: every token of the vocabulary is scored with its own word embedding."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ernie_cmtl.head_kinds import Head, ReadEncoder, ReadStates
from ernie_cmtl.head_kinds._labels import ClassLabels
from ernie_cmtl.model.kernels.cross_entropy import vocabulary_cross_entropy
from ernie_cmtl.records import FloatArray
from ernie_cmtl.task import HeadSpec


class Vocabulary(ClassLabels):
    """A head that is tied to the word embeddings."""

    labels = "token"

    def build(self, spec: HeadSpec, encoder: ReadEncoder) -> Head:
        """Make the family's own transform with a bias for each token."""
        return VocabularyHead(encoder)

    def weights_of_label(self, spec: HeadSpec, hidden_size: int, vocabulary_size: int) -> int:
        """Return those of a square transform and of the word embeddings."""
        return hidden_size * (hidden_size + vocabulary_size)


class VocabularyHead(Head):
    """The layout of BERT's and Ernie's own head."""

    def __init__(self, encoder: ReadEncoder) -> None:
        super().__init__()
        self.transform: nn.Module = encoder.vocabulary_transform()
        self.bias = nn.Parameter(torch.zeros(encoder.vocabulary_size))

    def begin_with(self, frequencies: FloatArray) -> None:
        """Expect each token as often as it stands in the text (Meister et al. 2022, arXiv
        2212.09686); [vocabulary].

        From zero, the bias would take thousands of steps to get there, and the word embeddings
        would tell rare tokens from frequent ones in its place.
        """
        logs = torch.from_numpy(np.log(frequencies))
        with torch.no_grad():
            # A constant changes no probability; around zero, bf16 is finer.
            self.bias.copy_(logs - logs.mean())

    def forward(self, read: ReadStates) -> Tensor:
        """Return the scores of all tokens; [N, vocabulary]."""
        return functional.linear(self.transform(read.states), read.word_embeddings, self.bias)

    def losses(
        self, read: ReadStates, labels: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the weighted sum of the losses, and the loss and the hit of each label, without
        all scores in memory at once.
        """
        states = self.transform(read.states)
        return vocabulary_cross_entropy(states, read.word_embeddings, self.bias, labels, weights)
