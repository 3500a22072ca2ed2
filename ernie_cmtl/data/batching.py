"""Examples in rows -> one Batch of arrays."""

from collections.abc import Mapping, Sequence

import numpy as np

from ernie_cmtl.head_kinds import head_kind
from ernie_cmtl.records import Array, Batch, BatchTargets, Example
from ernie_cmtl.task import HeadSpec
from ernie_cmtl.task_instance import TaskInstance

PlacedExample = tuple[int, int, Example]
"""(number of the task instance, row of the task embedding, example)."""


def make_batch(
    rows: Sequence[Sequence[PlacedExample]],
    length: int,
    instances: Sequence[TaskInstance],
    heads: Mapping[str, HeadSpec],
    pad_id: int,
) -> Batch:
    """Lay examples out in rows of fixed length; every head of the run gets targets, an idle one a
    dummy that counts nothing.
    """
    token_ids = np.full(len(rows) * length, pad_id, dtype=np.int64)
    token_types, task_types, positions = (
        np.zeros(len(rows) * length, dtype=np.int64) for _ in range(3)
    )
    counted = np.arange(length)
    starts: list[int] = []
    lengths: list[int] = []
    tasks: list[int] = []
    targets: dict[str, list[tuple[int, Array, Array]]] = {name: [] for name in heads}
    for row, examples in enumerate(rows):
        place = row * length
        for number, task_row, example in examples:
            instance = instances[number]
            end = place + len(example.token_ids)
            token_ids[place:end] = example.token_ids
            token_types[place:end] = example.token_type_ids
            task_types[place:end] = task_row
            for name, spec in instance.heads.items():
                if labelled := example.targets.get(spec.name):
                    targets[name].append((number, labelled.positions + place, labelled.labels))
            for sequence in example.sequence_lengths or (len(example.token_ids),):
                positions[place : place + sequence] = counted[:sequence]
                starts.append(place)
                lengths.append(sequence)
                tasks.append(number)
                place += sequence
    shape = (len(rows), length)
    return Batch(
        token_ids=token_ids.reshape(shape),
        token_type_ids=token_types.reshape(shape),
        task_type_ids=task_types.reshape(shape),
        position_ids=positions.reshape(shape),
        sequence_starts=np.array(starts, dtype=np.int64),
        sequence_lengths=np.array(lengths, dtype=np.int64),
        targets={name: _join(parts, heads[name]) for name, parts in targets.items()},
        sequence_tasks=np.array(tasks, dtype=np.int64),
    )


def _join(parts: Sequence[tuple[int, Array, Array]], spec: HeadSpec) -> BatchTargets:
    if not parts:
        return _idle(spec)
    tasks = np.repeat([number for number, _, _ in parts], [len(labels) for _, _, labels in parts])
    return BatchTargets(
        np.concatenate([places for _, places, _ in parts]),
        np.concatenate([labels for _, _, labels in parts]),
        tasks,
    )


def _idle(spec: HeadSpec) -> BatchTargets:
    """One label of no task: the head stays in the graph on every worker and gets no gradient."""
    kind = head_kind(spec.kind)
    places = np.zeros((1, *kind.place_shape(spec)), dtype=np.int64)
    return BatchTargets(places, np.zeros(1, dtype=kind.label_dtype), np.array([-1]))
