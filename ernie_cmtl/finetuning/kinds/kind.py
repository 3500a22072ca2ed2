"""What a kind of labelled sets is: which rows it takes, what the encoder sees of them, and what
predictions are worth.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import BaseModel
from torch import Tensor, nn
from transformers import BatchEncoding, DataCollatorWithPadding, PreTrainedTokenizerBase

from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.sets.recipe import STRICT, Recipe
from ernie_cmtl.finetuning.sets.rows import LabelledRow
from ernie_cmtl.records import Array
from ernie_cmtl.settings import validate

Inputs = dict[str, Any]
"""What the encoder sees of an example: token ids and what goes with them, and labels in
training.
"""
Collate = Callable[[list[Inputs]], dict[str, Tensor]]
ProblemType = Literal["regression", "single_label_classification"]
"""As transformers calls it."""


class NoOptions(BaseModel):
    """Options of a kind that has none."""

    model_config = STRICT


@dataclass(frozen=True, slots=True)
class Encoded:
    """Examples as the encoder sees them."""

    inputs: list[Inputs]
    where: Sequence[Any] = ()
    """What leads from the predictions for each input back to its example, where a kind needs
    that.
    """


class Kind(ABC):
    """One kind; made from a recipe and its training rows, out of which classes are taken that the
    recipe does not list.
    """

    head: ClassVar[Any]
    """Class of transformers with encoder and head."""
    metrics: ClassVar[tuple[str, ...]]
    """Scores that a recipe may choose by; the first one is the default. More is better in all of
    them.
    """
    Options: ClassVar[type[BaseModel]] = NoOptions
    problem_type: ClassVar[ProblemType | None] = None
    """What the config says of the outputs, so that a pipeline of transformers treats them alike."""
    outputs: int = 1
    """Numbers that the head gives for an input or token."""
    labels: tuple[str, ...] = ()
    """Names of the classes, where the labels are classes."""

    def __init__(self, recipe: Recipe, training: Sequence[LabelledRow]) -> None:
        """Take the options of a recipe.

        Raises:
            UserError: An option, the metric or a label is not accepted.
        """
        self.recipe = recipe
        self.options = validate(
            self.Options, recipe.options, (), f"options of the kind {recipe.kind}"
        )
        self.metric = recipe.metric or self.metrics[0]
        if self.metric not in self.metrics:
            raise UserError(
                f"metric {self.metric!r} is none of the kind {recipe.kind}; accepted: "
                f"{', '.join(self.metrics)}"
            )

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, for `id2label` of the config."""
        return self.labels or (self.recipe.columns.label,)

    @abstractmethod
    def examples(self, rows: Sequence[LabelledRow]) -> list[Any]:
        """Return checked examples; raises UserError with the place of a row that is none."""

    @abstractmethod
    def encode(
        self,
        examples: Sequence[Any],
        tokenizer: PreTrainedTokenizerBase,
        length: int,
        training: bool,
    ) -> Encoded:
        """Tokenize examples to inputs of at most so many tokens, with labels only for training."""

    @abstractmethod
    def scores(
        self, examples: Sequence[Any], encoded: Encoded, predicted: Sequence[Array]
    ) -> dict[str, float]:
        """Judge what the head gave for each input: [outputs], or [tokens, outputs] where it speaks
        of tokens.
        """

    @abstractmethod
    def unlabelled(self, rows: Sequence[LabelledRow]) -> list[Any]:
        """Return an example for each row, whose label is not looked at; raises UserError with the
        place of a row that is none.
        """

    @abstractmethod
    def answers(
        self, examples: Sequence[Any], encoded: Encoded, predicted: Sequence[Array]
    ) -> list[dict[str, Any]]:
        """Return what the head says of each example, for people and programs."""

    def majority_scores(self, examples: Sequence[Any]) -> dict[str, float]:
        """Return the scores of one and the same answer for all: that of the most frequent class;
        none where the labels are no classes.
        """
        return {}

    def answers_one_class(self, encoded: Encoded, predicted: Sequence[Array]) -> bool:
        """Tell whether all predictions are one and the same class."""
        return False

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Collate:
        """Return what makes a padded batch out of inputs."""
        return DataCollatorWithPadding(tokenizer)

    def loss(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of a batch with labels; a scalar."""
        found: Tensor = model(**inputs).loss
        return found


def class_names(
    given: tuple[str, ...] | None, found: set[str], training: Sequence[LabelledRow]
) -> tuple[str, ...]:
    """Return the classes of a set: those of the recipe, else those that were found in the training
    rows, sorted.

    Raises:
        UserError: There are fewer than two.
    """
    names = given or tuple(sorted(found))
    if len(set(names)) < 2 or len(set(names)) < len(names):
        place = training[0].place if training else "the recipe"
        raise UserError(
            f"{place}: labels need at least two different classes; there are "
            f"{', '.join(names) or 'none'}"
        )
    return names


def class_number(names: tuple[str, ...], label: object, place: str) -> int:
    """Return the number of a class.

    Raises:
        UserError: It is none of them.
    """
    if (name := label_name(label)) not in names:
        raise UserError(f"{place}: label {label!r} is none of {', '.join(names)}")
    return names.index(name)


def label_name(label: object) -> str:
    """Return the name of a class: 1 and 1.0 are one class."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def number(label: object, place: str) -> float:
    """Return a label that is a finite number.

    Raises:
        UserError: It is none.
    """
    try:
        found = float(str(label))
    except ValueError:
        found = float("nan")
    if not abs(found) < float("inf"):
        raise UserError(f"{place}: label {label!r} is no number")
    return found


def unpacked(batch: BatchEncoding) -> list[Inputs]:
    """Return the inputs of a batch one by one."""
    return [
        {name: values[place] for name, values in batch.items()}
        for place in range(len(batch["input_ids"]))
    ]
