"""Which task embedding the inputs of a fine-tuning get."""

from pathlib import Path
from typing import Any, cast

import torch
from pydantic import BaseModel, NonNegativeInt
from torch import Tensor
from transformers import PreTrainedModel

from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.sets.recipe import Recipe
from ernie_cmtl.foreign_files import read_json
from ernie_cmtl.model.foreign_tensors import read_tensors

ABOUT, ROWS = "pretraining.json", "task_embedding.safetensors"
"""What our exports say of their run; all rows, where one is folded into the weights."""


class _About(BaseModel):
    """What is read of `pretraining.json`."""

    tasks: dict[str, NonNegativeInt]
    folded_row: NonNegativeInt | None = None


def choose_task(made: PreTrainedModel, model: str, recipe: Recipe) -> int | str | None:
    """Give every input of a model the task embedding that a recipe asks for, and return which one
    it is; None: the model has no task embedding.

    model: folder or name that it was loaded from.

    Raises:
        UserError: There is no such row, or the rows beside the model do not belong to it.
    """
    deviation = float(made.config.initializer_range)
    encoder: Any = made.base_model
    with torch.no_grad():
        if (table := task_table(made)) is not None:
            choice = 0 if recipe.task_row is None else recipe.task_row
            # Inputs that name no task get the first row, in every class of the library.
            table[0] = task_vector(table, choice, filled_rows(model), deviation)
            return choice
        folded = folded_row(model)
        if folded is None or recipe.init == "random":
            return None
        if recipe.task_row is not None and recipe.task_row != folded:
            holder = _holder(encoder)
            rows = _rows(Path(model) / ROWS, folded, holder.shape[1])
            chosen = task_vector(rows, recipe.task_row, filled_rows(model), deviation)
            holder += chosen - rows[folded]
            return recipe.task_row
        return folded


def _holder(encoder: Any) -> Tensor:
    """Return the table of which each vector holds the folded row: that of the segments, else that
    of the words.
    """
    segments = getattr(encoder.embeddings, "token_type_embeddings", None)
    return cast(Tensor, (segments or encoder.get_input_embeddings()).weight)


def task_table(model: PreTrainedModel) -> torch.nn.Parameter | None:
    """Return the task embedding of a model; None if it has none."""
    embedding = getattr(getattr(model.base_model, "embeddings", None), "task_type_embeddings", None)
    return getattr(embedding, "weight", None)


def filled_rows(model: str) -> list[int]:
    """Return the rows of the task embedding that pretraining gave to tasks, as an export of ours
    lists them; else none.

    Raises:
        UserError: The list is damaged.
    """
    about = Path(model) / ABOUT
    return sorted(read_json(about, _About).tasks.values()) if about.is_file() else []


def folded_row(model: str) -> int | None:
    """Return the row of the task embedding that an export of ours has folded into its weights; None
    where there is none.

    Raises:
        UserError: The file that says so is damaged.
    """
    if not (Path(model) / ROWS).is_file() or not (Path(model) / ABOUT).is_file():
        return None
    return read_json(Path(model) / ABOUT, _About).folded_row


def _rows(path: Path, folded: int, hidden_size: int) -> Tensor:
    """Return all rows of the task embedding; [rows, hidden]."""
    rows = read_tensors(path).get("rows")
    if rows is None:
        raise UserError(f"{path} holds no rows of a task embedding")
    if rows.ndim != 2 or rows.shape[1] != hidden_size or not 0 <= folded < len(rows):
        raise UserError(
            f"{path} holds rows of the shape {list(rows.shape)}; the model beside it needs "
            f"[more than {folded}, {hidden_size}]"
        )
    return rows.float()


def task_vector(table: Tensor, choice: int | str, filled: list[int], deviation: float) -> Tensor:
    """Return the row that all inputs get: one of the table, the mean of those that were filled
    (else of all), or a random one.

    Raises:
        UserError: There is no such row.
    """
    if choice == "fresh":
        return torch.randn_like(table[0]) * deviation
    if choice == "mean":
        if beyond := [row for row in filled if row >= len(table)]:
            raise UserError(
                f"{ABOUT} names row {beyond[0]}; the task embedding has rows 0 to {len(table) - 1}"
            )
        return table[filled].mean(0) if filled else table.mean(0)
    if int(choice) >= len(table):
        raise UserError(
            f"task_row {choice}: the task embedding has rows 0 to {len(table) - 1}; accepted too: "
            "mean, fresh"
        )
    return table[int(choice)].clone()
