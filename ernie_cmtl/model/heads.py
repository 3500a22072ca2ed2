"""Heads: hidden states at labelled places -> one loss and one hit a label."""

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import ErnieConfig
from transformers.models.ernie.modeling_ernie import ErniePredictionHeadTransform

from ernie_cmtl.model.kernels.cross_entropy import vocabulary_cross_entropy
from ernie_cmtl.model.kernels.dropout import Dropout
from ernie_cmtl.randomness import derive_key
from ernie_cmtl.records import FloatArray
from ernie_cmtl.task import HeadSpec

SEQUENCE_KINDS = ("sequence_class", "sequence_regression", "choice")


class VocabularyHead(nn.Module):
    """Scores every token of the vocabulary with the word embeddings themselves; the layout of
    BERT's and Ernie's own head.
    """

    def __init__(self, config: ErnieConfig) -> None:
        super().__init__()
        self.transform = ErniePredictionHeadTransform(config)  # type: ignore[no-untyped-call]
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

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

    def forward(self, states: Tensor, word_embeddings: Tensor) -> Tensor:
        """states: [N, hidden]; returns scores [N, vocabulary]."""
        return functional.linear(self.transform(states), word_embeddings, self.bias)

    def losses(
        self, states: Tensor, word_embeddings: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the weighted sum of the losses, and the loss and the hit of each label; [N,
        hidden] and [N].
        """
        return vocabulary_cross_entropy(
            self.transform(states), word_embeddings, self.bias, labels, weights
        )


class LinearHead(nn.Module):
    """One linear layer: class scores, a regression value, or a candidate's score."""

    def __init__(self, config: ErnieConfig, spec: HeadSpec) -> None:
        super().__init__()
        self.dropout = Dropout(config.hidden_dropout_prob)
        # A choice scores its candidates one by one.
        self.dense = nn.Linear(config.hidden_size, 1 if spec.kind == "choice" else spec.classes)

    def forward(self, states: Tensor) -> Tensor:
        """states: [..., hidden]; returns [..., classes]."""
        return cast(Tensor, self.dense(self.dropout(states)))


def build_head(name: str, spec: HeadSpec, config: ErnieConfig, seed: int) -> nn.Module:
    """Make a head whose weights depend on (seed, name) alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_key(seed, "head", name) >> 1)
        head = VocabularyHead(config) if spec.kind == "vocabulary" else LinearHead(config, spec)
        for module in head.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=config.initializer_range)
                nn.init.zeros_(module.bias)
    return head


def losses_and_hits(spec: HeadSpec, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss and the hit (1 right, 0 wrong; for regression always 0) of each label, at
    least in float32; [N] both.

    scores: [N, classes], [N, candidates] for a choice, [N, 1] for regression.
    """
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if spec.kind.endswith("regression"):
        losses = functional.mse_loss(scores.squeeze(-1), labels, reduction="none")
        return losses, torch.zeros_like(losses)
    if spec.multi_label:
        losses = functional.binary_cross_entropy_with_logits(scores, labels, reduction="none").mean(
            -1
        )
        return losses, ((scores > 0) == (labels > 0.5)).to(losses).mean(-1)
    losses = functional.cross_entropy(scores, labels, reduction="none")
    return losses, (scores.detach().argmax(-1) == labels).to(losses)
