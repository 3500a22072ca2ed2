"""Which parameters belong to which task: rows of the task embedding, and heads."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from ernie_cmtl.head_kinds import head_kind
from ernie_cmtl.model.encoder import EncoderFamily
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.records import MASKED_TOKEN


def idle_parameters(
    model: MultiTaskModel, labelled: Tensor, rows: Sequence[Collection[int]]
) -> list[nn.Parameter]:
    """Return the parameters that must not move in a step.

    labelled: does (head, task) have a label in the step on any worker, bool [heads, tasks]; rows:
    of the task embedding, those that samples of each task may have.
    """
    idle: list[nn.Parameter] = []
    transformed = False
    for number, (name, spec) in enumerate(model.specs.items()):
        active = bool(labelled[number].any())
        transformed |= active and head_kind(spec.kind).reads_sequence
        if not active:
            idle += model.heads[name].parameters()
    if not transformed:
        idle += model.family.sequence_transform.parameters()
    active_rows = {
        row for task in range(model.tasks) if bool(labelled[:, task].any()) for row in rows[task]
    }
    return idle + [
        parameter for row, parameter in enumerate(model.family.task_rows) if row not in active_rows
    ]


def new_since(model: MultiTaskModel, known_heads: Collection[str]) -> list[str]:
    """Return the beginnings of the names of parameters that came with new tasks.

    known_heads: of the run before it was extended. Rows of the task embedding are all there from
    the first step.
    """
    return [f"heads.{name}." for name in model.specs if name not in known_heads]


def task_table(family: EncoderFamily) -> Tensor:
    """Return the rows of the task embedding; float32 [rows, hidden], on the CPU."""
    return torch.stack(family.task_rows).detach().cpu().float()


def kept_beside_export(model: MultiTaskModel) -> dict[str, Tensor]:
    """Return the weights of the heads for which a stock class of transformers has no place."""
    heads = {name: head for name, head in model.heads.items() if name != MASKED_TOKEN}
    return {
        f"{name}.{key}": value.detach().cpu().contiguous()
        for name, head in heads.items()
        for key, value in head.state_dict().items()
    }
