"""The folder of a fine-tuned model: what its JSON says, and the check that it computes what was
judged.
"""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ernie_cmtl.atomic_files import write_text
from ernie_cmtl.finetuning.card import model_card
from ernie_cmtl.finetuning.keeping import Chosen
from ernie_cmtl.finetuning.prepared import Prepared
from ernie_cmtl.finetuning.sets.recipe import Recipe
from ernie_cmtl.finetuning.training import predict
from ernie_cmtl.pretrained.weights import quiet_loading

KEPT = "finetuning.json"
"""Says how a model was fine-tuned and what it scores."""
_LARGEST_DIFFERENCE = 1e-4
"""Of an output, float32."""


class Kept(BaseModel):
    """What `finetuning.json` says."""

    task: str
    """Name of the recipe."""
    base_model: str
    """Folder or name of the model that was fine-tuned."""
    labels: tuple[str, ...]
    """Names of the classes; none where the labels are no classes."""
    maximum_length: int = Field(ge=1)
    """Most tokens of an input."""
    kept: dict[str, Any]
    """Learning rate, seed and scores of the model in the folder."""
    all_models: dict[str, Any]
    """Mean and spread over seeds, the majority's scores, and every model that was trained."""
    recipe: Recipe


def write_kept(folder: Path, name: str, about: Kept, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write tokenizer, card and JSON beside the weights of a model.

    name: of the model, for its card; tokenizer: as it was loaded, for the settings of a call would
    be saved with it.
    """
    tokenizer.model_max_length = about.maximum_length
    tokenizer.save_pretrained(folder)
    write_text(folder / KEPT, about.model_dump_json(indent=1))
    write_text(folder / "README.md", model_card(name, about.model_dump(mode="json")))


def check_kept(folder: Path, task: Prepared, chosen: Chosen) -> float:
    """Load a folder with the stock classes and return the largest difference between an output of
    that model and of the one that was judged.

    Raises:
        RuntimeError: Weights are missing, or the difference is above 1e-4.
    """
    split = "test" if "test" in chosen.outputs else "dev"
    with quiet_loading():
        model, report = task.kind.head.from_pretrained(folder, output_loading_info=True)
    if missing := sorted(report["missing_keys"]):
        raise RuntimeError(f"the kept model lacks weights: {', '.join(missing)}")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = task.kind.encode(task.examples[split], tokenizer, task.length, False)
    found = predict(model.to(chosen.device), task.kind.collator(tokenizer), encoded.inputs)
    differences = [
        float(np.abs(one - other).max())
        for one, other in zip(found, chosen.outputs[split], strict=True)
    ]
    if not max(differences) <= _LARGEST_DIFFERENCE:
        raise RuntimeError(
            "the kept model, loaded again, does not compute what was judged: the largest "
            f"difference of an output on {split} is {max(differences):g}"
        )
    return max(differences)
