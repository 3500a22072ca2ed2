"""Which parameters belong to which task: rows of the task embedding, and heads."""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from ernie_cmtl.head_kinds import head_kind
from ernie_cmtl.model.encoder import EncoderFamily
from ernie_cmtl.model.feeding import feeds_of
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.model.sharing import TRUNK, SharingTable
from ernie_cmtl.records import MASKED_TOKEN
from ernie_cmtl.task import HeadSpec


def idle_parameters(
    model: MultiTaskModel, labelled: Tensor, rows: Sequence[Collection[int]]
) -> list[nn.Parameter]:
    """Return the parameters that must not move in a step.

    labelled: does (head, task) have a label in the step on any worker, bool [heads, tasks]; rows:
    of the task embedding, those that samples of each task may have.
    """
    idle: list[nn.Parameter] = []
    # What sequence heads share may be a part of the vocabulary head, too.
    used: list[nn.Parameter] = []
    transformed = False
    for number, (name, spec) in enumerate(model.specs.items()):
        active = bool(labelled[number].any())
        transformed |= active and head_kind(spec.kind).reads_sequence
        (used if active else idle).extend(model.heads[name].parameters())
    (used if transformed else idle).extend(model.family.sequence_transform.parameters())
    moved = {id(parameter) for parameter in used}
    idle = [parameter for parameter in idle if id(parameter) not in moved]
    idle += _idle_layers(model, labelled)
    idle += [
        model.label_embeddings[feed.head]
        for feed in model.feeds
        if not bool(labelled[:, list(feed.receivers)].any())
    ]
    active_rows = {
        row for task in range(model.tasks) if bool(labelled[:, task].any()) for row in rows[task]
    }
    return idle + [
        parameter for row, parameter in enumerate(model.family.task_rows) if row not in active_rows
    ]


def _idle_layers(model: MultiTaskModel, labelled: Tensor) -> list[nn.Parameter]:
    """Return the parameters of private layers through which no labelled sequence went."""
    family = model.family
    if not model.sharing.branches:
        return []
    active = {
        int(model.branch_of[task]) for task in range(model.tasks) if bool(labelled[:, task].any())
    }
    if model.low_rank:
        return [
            parameter
            for number, group in enumerate(model.low_rank.groups, 1)
            if number not in active
            for parameter in model.low_rank.of(group)
        ]
    return [
        parameter
        for number, group in enumerate((TRUNK, *family.branches))
        if number not in active
        for layer in family.private_layers_of(group)
        for parameter in layer.parameters()
    ]


def new_since(
    model: MultiTaskModel,
    known_heads: Mapping[str, HeadSpec],
    known_tasks: Sequence[str],
    known: SharingTable,
) -> list[str]:
    """Return the beginnings of the names of parameters that came with new tasks.

    known_heads, known_tasks, known: heads, tasks and shared layers of the run before it was
    extended. Rows of the task embedding are all there from the first step.
    """
    numbers = {task: number for number, task in enumerate(known_tasks)}
    fed = {feed.head for feed in feeds_of(known_heads, numbers, known)}
    return [
        *(f"heads.{name}." for name in model.specs if name not in known_heads),
        *(f"branches.{name}." for name in model.family.branches if name not in known.branches),
        *_new_low_rank(model, known),
        *(f"label_embeddings.{name}" for name in model.label_embeddings if name not in fed),
    ]


def _new_low_rank(model: MultiTaskModel, known: SharingTable) -> list[str]:
    if not model.low_rank:
        return []
    return [
        f"low_rank.{side}.{key}.{group}"
        for side in ("down", "up")
        for key in model.low_rank.down
        for group in model.low_rank.groups
        if group not in known.branches
    ]


def task_table(family: EncoderFamily) -> Tensor:
    """Return the rows of the task embedding; float32 [rows, hidden], on the CPU."""
    return torch.stack(family.task_rows).detach().cpu().float()


def kept_beside_export(model: MultiTaskModel, tasks: Collection[str]) -> dict[str, Tensor]:
    """Return the weights of the heads for which a stock class of transformers has no place; tasks:
    whose heads read the layers that are exported.
    """
    heads = {
        name: head
        for name, head in model.heads.items()
        if name != MASKED_TOKEN and name.partition("/")[0] in tasks
    }
    return {
        f"{name}.{key}": value.detach().cpu().contiguous()
        for name, head in heads.items()
        for key, value in head.state_dict().items()
    }
