"""One class for a sentence or a pair of sentences."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from ernie_cmtl.finetuning.kinds.kind import Encoded, Kind, class_names, class_number, label_name
from ernie_cmtl.finetuning.kinds.pairs import Pair, encode_texts, texts_of
from ernie_cmtl.finetuning.sets.recipe import Recipe
from ernie_cmtl.finetuning.sets.rows import LabelledRow
from ernie_cmtl.finetuning.sets.scores import class_scores, most_frequent
from ernie_cmtl.records import Array


class Classification(Kind):
    """Cross entropy over the classes."""

    head = AutoModelForSequenceClassification
    metrics = ("accuracy", "f1", "matthews")
    problem_type = "single_label_classification"

    def __init__(self, recipe: Recipe, training: Sequence[LabelledRow]) -> None:
        """Name the classes."""
        super().__init__(recipe, training)
        self.labels = class_names(
            recipe.labels, {label_name(row.label) for row in training}, training
        )
        self.outputs = len(self.labels)

    def examples(self, rows: Sequence[LabelledRow]) -> list[Pair]:
        """Return the texts of each row and the number of its class."""
        return [
            Pair(texts_of(row), class_number(self.labels, row.label, row.place)) for row in rows
        ]

    def encode(
        self,
        examples: Sequence[Pair],
        tokenizer: PreTrainedTokenizerBase,
        length: int,
        training: bool,
    ) -> Encoded:
        """Tokenize one or two texts."""
        inputs = encode_texts([example.texts for example in examples], tokenizer, length)
        labels = [{"labels": int(example.label)} for example in examples]
        return Encoded(
            [one | label for one, label in zip(inputs, labels, strict=True)] if training else inputs
        )

    def scores(
        self, examples: Sequence[Pair], encoded: Encoded, predicted: Sequence[Array]
    ) -> dict[str, float]:
        """Compare the likeliest class with the label."""
        return class_scores(_labels(examples), _guesses(predicted), len(self.labels))

    def unlabelled(self, rows: Sequence[LabelledRow]) -> list[Pair]:
        """Return the texts of each row."""
        return [Pair(texts_of(row), 0) for row in rows]

    def answers(
        self, examples: Sequence[Pair], encoded: Encoded, predicted: Sequence[Array]
    ) -> list[dict[str, Any]]:
        """Return the likeliest class and the probability of every class."""
        return [
            {
                "label": self.labels[guess],
                "probabilities": dict(zip(self.labels, _probabilities(values), strict=True)),
            }
            for guess, values in zip(_guesses(predicted), predicted, strict=True)
        ]

    def majority_scores(self, examples: Sequence[Pair]) -> dict[str, float]:
        """Judge the most frequent class as the answer to all."""
        gold = _labels(examples)
        return class_scores(gold, [most_frequent(gold)] * len(gold), len(self.labels))

    def answers_one_class(self, encoded: Encoded, predicted: Sequence[Array]) -> bool:
        """Compare the likeliest classes."""
        return len(set(_guesses(predicted))) == 1


def _labels(examples: Sequence[Pair]) -> list[int]:
    return [int(example.label) for example in examples]


def _probabilities(scores: Array) -> list[float]:
    found: list[float] = torch.from_numpy(scores).double().softmax(-1).tolist()
    return found


def _guesses(predicted: Sequence[Array]) -> list[int]:
    found: list[int] = np.stack(predicted).argmax(axis=1).tolist()
    return found
