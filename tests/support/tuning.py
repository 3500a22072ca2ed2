"""A fine-tuning that is only begun."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ernie_cmtl.finetuning.kinds import KINDS
from ernie_cmtl.finetuning.models import new_model
from ernie_cmtl.finetuning.sets.recipe import Recipe
from ernie_cmtl.finetuning.sets.rows import LabelledRow


def recipe(**settings: Any) -> Recipe:
    """A classification of texts in two classes."""
    return Recipe.model_validate(
        {
            "kind": "classification",
            "data": {"train": "x", "dev": 0.5},
            "columns": {"text": "text", "label": "label"},
            "labels": ["0", "1"],
            "train": {"learning_rates": [1e-4], "epochs": 1, "batch_size": 8},
        }
        | settings
    )


def model_to_tune(folder: Path) -> PreTrainedModel:
    """The model of a folder, with a new head."""
    row = LabelledRow("row 1", "a", None, "1", None)
    return new_model(str(folder), KINDS["classification"](recipe(), [row]), recipe(), 1)
