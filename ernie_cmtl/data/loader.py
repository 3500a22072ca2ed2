"""Steps for one worker: the whole step is planned, only the worker's own groups are made."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ernie_cmtl.data.batching import PlacedExample, make_batch
from ernie_cmtl.data.packing import Row, RowSpace, StepPlan
from ernie_cmtl.data.stage_streams import StageData
from ernie_cmtl.data.step_shape import DataConfig
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.parent_process import when_parent_ends
from ernie_cmtl.records import Batch, Ledger, StepData
from ernie_cmtl.task_instance import TaskInstance, run_heads

Shares = Callable[[int], tuple[float, ...]]
"""Step -> share of each task instance."""


@dataclass
class StepSource(IterableDataset[StepData]):
    """Yields the steps first..last-1 for one of several workers."""

    stages: Mapping[int, StageData]
    """Number of each stage that these steps belong to -> what they are made of."""
    stage_of: Callable[[int], int]
    """Step -> number of its stage."""
    shares: Shares
    instances: Sequence[TaskInstance]
    pad_id: int
    ledger: Ledger
    """Before the first step."""
    last: int
    rank: int = 0
    workers: int = 1
    loader_workers: int = 0

    def __post_init__(self) -> None:
        self.heads = run_heads(self.instances)

    def __iter__(self) -> Iterator[StepData]:
        info = get_worker_info()
        number, count = (info.id, info.num_workers) if info else (0, 1)
        ledger, first = self.ledger, self.ledger.step
        for step in range(first, self.last):
            stage = self.stages[self.stage_of(step)]
            plan = stage.plan(self.shares(step), ledger)
            served = [
                after - before
                for after, before in zip(plan.ledger.tokens, ledger.tokens, strict=True)
            ]
            ledger = plan.ledger
            # Loader processes take steps in turn, which is the order the loader asks them in.
            if (step - first) % count == number:
                # A task that comes once in ten steps weighs ten times its share in that step, so
                # that the mean is its share.
                yield self._make(stage, tuple(tokens / sum(served) for tokens in served), plan)

    def _make(self, stage: StageData, shares: tuple[float, ...], plan: StepPlan) -> StepData:
        size = stage.config.rows_per_group
        own = range(self.rank, stage.config.groups, self.workers)
        groups = tuple(
            self._batch(stage, plan.rows[group * size : (group + 1) * size]) for group in own
        )
        real = sum(int(group.sequence_lengths.sum()) for group in groups)
        return StepData(
            plan.ledger.step - 1,
            shares,
            groups,
            plan.ledger,
            real,
            len(own) * size * stage.config.row_length,
        )

    def _batch(self, stage: StageData, rows: Sequence[Row]) -> Batch:
        made = [
            _examples((task, stage.streams[task], number) for task, number in row) for row in rows
        ]
        return make_batch(made, stage.config.row_length, self.instances, self.heads, self.pad_id)


def _examples(samples: Iterable[tuple[int, SampleStream, int]]) -> list[PlacedExample]:
    """Make the examples of samples (task, stream, number), without those that hold nothing to
    predict.
    """
    return [
        (task, stream.task_row(number), example)
        for task, stream, number in samples
        if (example := stream.example(number))
    ]


def load_steps(source: StepSource) -> DataLoader[StepData]:
    """Return a loader that yields the steps in order, prepared ahead by worker processes if there
    are any.
    """
    workers = source.loader_workers
    return DataLoader(
        source,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_live_as_long_as_the_trainer,
        # Workers share the opened corpus with this process; pickling it would copy the mapped
        # files.
        multiprocessing_context="fork" if workers else None,
    )


def _live_as_long_as_the_trainer(_: int) -> None:
    """Make a loader process outlive what is sent to stop a run, and no kill of the process that
    trains.
    """
    # Signals go to groups of processes, and the step under way still needs its data.
    os.setpgrp()
    # The library's own watch does not end a process whose data nobody takes any more.
    when_parent_ends(os.getppid(), lambda: os._exit(1))


def fixed_batches(
    stream: SampleStream, samples: int, config: DataConfig, pad_id: int
) -> Iterator[tuple[int, Batch]]:
    """Yield (number, batch) over the first samples of one epoch, packed; the same ones for every
    model and worker count.
    """
    numbers = range(min(samples, len(stream)))
    yield from enumerate(batches_of(stream, numbers, config, pad_id))


def batches_of(
    stream: SampleStream, numbers: Iterable[int], config: DataConfig, pad_id: int
) -> Iterator[Batch]:
    """Yield batches of some samples of one task, packed in the order of their numbers."""
    space = RowSpace(0, config.row_length)
    rows: list[Row] = []
    for number in numbers:
        row = space.place(stream.slot(number))
        if row is None:
            space.open_row(len(rows))
            rows.append([])
            row = space.place(stream.slot(number))
        assert row is not None
        rows[row].append((0, number))
    heads = run_heads([stream.instance])
    size = config.rows_per_group
    for first in range(0, len(rows), size):
        made = [
            _examples((task, stream, number) for task, number in row)
            for row in rows[first : first + size]
        ]
        yield make_batch(made, config.row_length, [stream.instance], heads, pad_id)
