"""A number for a sentence or a pair of sentences, such as their similarity."""

from collections.abc import Sequence
from typing import Any

from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from ernie_cmtl.finetuning.kinds.kind import Encoded, Kind, number
from ernie_cmtl.finetuning.kinds.pairs import Pair, encode_texts, texts_of
from ernie_cmtl.finetuning.sets.rows import LabelledRow
from ernie_cmtl.finetuning.sets.scores import correlations
from ernie_cmtl.records import Array


class Regression(Kind):
    """Squared error; one output."""

    head = AutoModelForSequenceClassification
    metrics = ("pearson", "spearman")
    problem_type = "regression"

    def examples(self, rows: Sequence[LabelledRow]) -> list[Pair]:
        """Return the texts of each row and its number."""
        return [Pair(texts_of(row), number(row.label, row.place)) for row in rows]

    def encode(
        self,
        examples: Sequence[Pair],
        tokenizer: PreTrainedTokenizerBase,
        length: int,
        training: bool,
    ) -> Encoded:
        """Tokenize one or two texts."""
        inputs = encode_texts([example.texts for example in examples], tokenizer, length)
        labels = [{"labels": example.label} for example in examples]
        return Encoded(
            [one | label for one, label in zip(inputs, labels, strict=True)] if training else inputs
        )

    def scores(
        self, examples: Sequence[Pair], encoded: Encoded, predicted: Sequence[Array]
    ) -> dict[str, float]:
        """Correlate numbers and labels."""
        return correlations(
            [example.label for example in examples], [float(values[0]) for values in predicted]
        )

    def unlabelled(self, rows: Sequence[LabelledRow]) -> list[Pair]:
        """Return the texts of each row."""
        return [Pair(texts_of(row), 0) for row in rows]

    def answers(
        self, examples: Sequence[Pair], encoded: Encoded, predicted: Sequence[Array]
    ) -> list[dict[str, Any]]:
        """Return the number of each example."""
        return [{"value": float(values[0])} for values in predicted]
