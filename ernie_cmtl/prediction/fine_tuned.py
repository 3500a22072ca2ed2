"""A fine-tuned model: it answers by the same code that judged it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.kept import KEPT, Kept
from ernie_cmtl.finetuning.kinds import KINDS
from ernie_cmtl.finetuning.kinds.kind import Kind
from ernie_cmtl.finetuning.models import load_tokenizer, longest_input
from ernie_cmtl.finetuning.sets.recipe import KindName, Recipe
from ernie_cmtl.finetuning.sets.rows import LabelledRow
from ernie_cmtl.finetuning.training import predict
from ernie_cmtl.foreign_files import read_json
from ernie_cmtl.prediction.predictor import DEVICE, Answer, Predictor
from ernie_cmtl.pretrained.weights import find_file, load_weights

_KINDS_OF: dict[str, tuple[KindName, ...]] = {
    "ForSequenceClassification": ("classification", "regression", "ranking"),
    "ForTokenClassification": ("tokens",),
    "ForQuestionAnswering": ("span",),
}
"""Ending of a class of transformers -> kinds whose models are of such a class."""
_LENGTH = 512
"""Most tokens of an input, where neither tokenizer nor config bound it."""


def kinds_of(config: PretrainedConfig) -> tuple[KindName, ...]:
    """Return the kinds that a model may be of; none for an encoder without a head of its own."""
    architecture = (config.architectures or [""])[0]
    return next((found for end, found in _KINDS_OF.items() if architecture.endswith(end)), ())


class FineTuned(Predictor):
    """A model with the head of a kind."""

    def __init__(self, name: str, config: PretrainedConfig, columns: Mapping[str, str]) -> None:
        """Load a model by its name or folder.

        columns: role -> name of a column, in place of those of its recipe.

        Raises:
            UserError: It cannot be loaded, lacks weights, or its `finetuning.json` does not belong
                to it.
        """
        tokenizer = load_tokenizer(name)
        recipe = _recipe(name, config, tokenizer)
        self.kind, self.ranks = recipe.kind, recipe.kind == "ranking"
        self.columns = _columns(recipe, columns)
        self._kind: Kind = KINDS[recipe.kind](recipe, ())
        self._check_labels(name, config)
        self._tokenizer, self._length = tokenizer, longest_input(recipe, tokenizer, config)
        what = f"model {name!r}"
        model, missing = load_weights(self._kind.head, name, what, config, dtype=torch.float32)
        if missing:
            raise UserError(f"{what} lacks weights that its answers depend on: {min(missing)}")
        # In place.
        model.train(False).to(DEVICE)
        self._model = model

    def _check_labels(self, name: str, config: PretrainedConfig) -> None:
        kind = self._kind
        names = _labels(config)
        if len(names) != kind.outputs or (kind.labels and names != kind.labels):
            raise UserError(
                f"{name}: config.json has the labels {', '.join(names)}, and {KEPT} "
                f"{', '.join(kind.output_names)}; they do not belong together"
            )

    def check(self, row: LabelledRow) -> None:
        """Look at the texts of a row."""
        self._kind.unlabelled([row])

    def answers(self, rows: Sequence[LabelledRow]) -> list[Answer]:
        """Return what the head says of each row."""
        examples = self._kind.unlabelled(rows)
        encoded = self._kind.encode(examples, self._tokenizer, self._length, False)
        outputs = predict(self._model, self._kind.collator(self._tokenizer), encoded.inputs)
        return self._kind.answers(examples, encoded, outputs)


def _recipe(name: str, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> Recipe:
    """Return the recipe that a model was kept with, or one that says how to read its class."""
    kinds = kinds_of(config)
    if path := find_file(name, KEPT):
        kept = read_json(Path(path), Kept)
        if kept.recipe.kind not in kinds:
            raise UserError(
                f"{path} is of a model of the kind {kept.recipe.kind}; config.json is of one of "
                f"{', '.join(kinds)}"
            )
        changes = {"labels": kept.labels or None, "maximum_length": kept.maximum_length}
        return kept.recipe.model_copy(update=changes)
    if config.problem_type == "multi_label_classification":
        raise UserError(
            f"model {name!r} gives several labels to one text; predict gives one: use the pipeline "
            "of transformers"
        )
    kind = "regression" if len(kinds) > 1 and config.num_labels == 1 else kinds[0]
    positions = getattr(config, "max_position_embeddings", None) or _LENGTH
    texts: dict[str, Any] = {"text": "text"}
    if kind == "span":
        texts = {"text": "question", "text_pair": "context"}
    # What is not about reading is never looked at.
    return Recipe.model_validate(
        {
            "kind": kind,
            "data": {"train": "-", "test": "-"},
            "columns": texts | {"label": "label"},
            "labels": _labels(config) if kind in ("classification", "tokens") else None,
            "maximum_length": max(8, min(tokenizer.model_max_length, positions)),
            "train": {"learning_rates": [1e-5]},
        }
    )


def _labels(config: PretrainedConfig) -> tuple[str, ...]:
    """Return the names of the outputs of a model, in their order."""
    return tuple(str(name) for _, name in sorted((config.id2label or {}).items()))


def _columns(recipe: Recipe, given: Mapping[str, str]) -> dict[str, str]:
    """Return the columns to read: those of the recipe, but for the label, with others on top."""
    # Elsewhere a group only keeps rows of one split together.
    roles = ("text", "text_pair", "group") if recipe.kind == "ranking" else ("text", "text_pair")
    known = recipe.columns.model_dump(exclude_none=True)
    if unused := [role for role in given if role not in roles]:
        raise UserError(f"--columns {unused[0]}: only a model of the kind ranking reads groups")
    return {role: known[role] for role in roles if role in known} | dict(given)
