"""A recipe that is ready to train models."""

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from ernie_cmtl.finetuning.kinds.kind import Encoded, Kind
from ernie_cmtl.finetuning.sets.recipe import Recipe


@dataclass(frozen=True)
class Prepared:
    """A recipe with all that its models share: rows read and checked, inputs tokenized."""

    model: str
    """Folder or name of a model of transformers."""
    recipe: Recipe
    kind: Kind
    tokenizer: PreTrainedTokenizerBase
    length: int
    """Most tokens of an input."""
    examples: dict[str, list[Any]]
    """Split -> examples."""
    encoded: dict[str, Encoded]
    """Split -> the same, as the encoder sees them."""
