"""A label for every word: names, chunks, parts of speech."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import (
    AutoModelForTokenClassification,
    DataCollatorForTokenClassification,
    PreTrainedTokenizerBase,
)

from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.kinds.kind import (
    Collate,
    Encoded,
    Kind,
    class_names,
    class_number,
    label_name,
    unpacked,
)
from ernie_cmtl.finetuning.sets.recipe import Recipe
from ernie_cmtl.finetuning.sets.rows import LabelledRow
from ernie_cmtl.finetuning.sets.scores import label_scores, most_frequent
from ernie_cmtl.records import Array, IntArray

OUTSIDE = "O"
_IGNORED = -100


@dataclass(frozen=True, slots=True)
class Words:
    """A sentence: its words and the number of the label of each."""

    words: list[str]
    labels: list[int]


class Tokens(Kind):
    """Cross entropy at the first token of each word; words that are cut off or have no token count
    as outside of all spans.
    """

    head = AutoModelForTokenClassification
    metrics = ("f1", "accuracy", "precision", "recall")

    def __init__(self, recipe: Recipe, training: Sequence[LabelledRow]) -> None:
        """Name the labels."""
        super().__init__(recipe, training)
        found = {label_name(label) for row in training for label in _listed(row, row.label)}
        self.labels = class_names(recipe.labels, found, training)
        self.outputs = len(self.labels)

    def examples(self, rows: Sequence[LabelledRow]) -> list[Words]:
        """Return the words of each row and the numbers of their labels."""
        return [self._example(row) for row in rows]

    def _example(self, row: LabelledRow) -> Words:
        words, labels = _words(row), _listed(row, row.label)
        if len(words) != len(labels) or not words:
            raise UserError(f"{row.place}: {len(words)} words and {len(labels)} labels")
        return Words(words, [class_number(self.labels, label, row.place) for label in labels])

    def encode(
        self,
        examples: Sequence[Words],
        tokenizer: PreTrainedTokenizerBase,
        length: int,
        training: bool,
    ) -> Encoded:
        """Tokenize words, and remember the first token of each."""
        texts = [example.words for example in examples]
        batch = tokenizer(texts, is_split_into_words=True, truncation=True, max_length=length)
        inputs = unpacked(batch)
        firsts = [first_tokens(batch.word_ids(place)) for place in range(len(texts))]
        if training:
            for example, one, (words, tokens) in zip(examples, inputs, firsts, strict=True):
                labels = np.full(len(one["input_ids"]), _IGNORED)
                labels[tokens] = np.array(example.labels)[words]
                one["labels"] = labels.tolist()
        return Encoded(inputs, firsts)

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Collate:
        """Return what pads labels too."""
        return DataCollatorForTokenClassification(tokenizer)

    def scores(
        self, examples: Sequence[Words], encoded: Encoded, predicted: Sequence[Array]
    ) -> dict[str, float]:
        """Compare the likeliest labels of whole sentences."""
        guesses = self._guesses(examples, encoded, predicted)
        return label_scores([self._names(example.labels) for example in examples], guesses)

    def _guesses(
        self, examples: Sequence[Words], encoded: Encoded, predicted: Sequence[Array]
    ) -> list[list[str]]:
        """Return the likeliest label of every word."""
        absent = self.labels.index(OUTSIDE) if OUTSIDE in self.labels else 0
        guesses = []
        for example, (words, tokens), values in zip(
            examples, encoded.where, predicted, strict=True
        ):
            found = np.full(len(example.words), absent)
            found[words] = values.argmax(axis=1)[tokens]
            guesses.append(self._names(found))
        return guesses

    def unlabelled(self, rows: Sequence[LabelledRow]) -> list[Words]:
        """Return the words of each row."""
        examples = [Words(_words(row), []) for row in rows]
        for example, row in zip(examples, rows, strict=True):
            if not example.words:
                raise UserError(f"{row.place}: there are no words")
        return examples

    def answers(
        self, examples: Sequence[Words], encoded: Encoded, predicted: Sequence[Array]
    ) -> list[dict[str, Any]]:
        """Return the words and the label of each."""
        guesses = self._guesses(examples, encoded, predicted)
        return [
            {"words": example.words, "labels": labels}
            for example, labels in zip(examples, guesses, strict=True)
        ]

    def majority_scores(self, examples: Sequence[Words]) -> dict[str, float]:
        """Judge the most frequent label as that of every word."""
        most = most_frequent([label for example in examples for label in example.labels])
        gold = [self._names(example.labels) for example in examples]
        return label_scores(gold, [[self.labels[most]] * len(names) for names in gold])

    def answers_one_class(self, encoded: Encoded, predicted: Sequence[Array]) -> bool:
        """Compare the likeliest labels of all words."""
        read = zip(encoded.where, predicted, strict=True)
        return len({int(one) for (_, at), values in read for one in values.argmax(1)[at]}) == 1

    def _names(self, numbers: Sequence[int] | IntArray) -> list[str]:
        return [self.labels[number] for number in numbers]


def first_tokens(word_ids: Sequence[int | None]) -> tuple[IntArray, IntArray]:
    """Return the words that have tokens, and the first token of each; word_ids: the word of each
    token, None for marks.
    """
    words = np.array([-1 if word is None else word for word in word_ids], dtype=np.int64)
    found, places = np.unique(words, return_index=True)
    return found[found >= 0], places[found >= 0]


def _words(row: LabelledRow) -> list[str]:
    return [row.sentence(word) for word in _listed(row, row.text)]


def _listed(row: LabelledRow, value: object) -> list[object]:
    """Return a list, or the words that stand between spaces."""
    if isinstance(value, str):
        return list(value.split())
    if not isinstance(value, list):
        raise UserError(f"{row.place}: {value!r} is no list of words or labels")
    return value
