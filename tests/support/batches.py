"""Batches of samples of a run."""

from collections.abc import Sequence

from ernie_cmtl.corpus.store.manifest import Split
from ernie_cmtl.data.batching import make_batch
from ernie_cmtl.records import Batch
from ernie_cmtl.run.run import Run
from ernie_cmtl.task_instance import run_heads


def batch_of(
    run: Run, rows: Sequence[Sequence[tuple[int, int]]], length: int = 64, split: Split = "train"
) -> Batch:
    """One group; rows: the samples of each, as (number of the task, number of the sample)."""
    streams = run.streams(split)
    made = [
        [
            (task, streams[task].task_row(number), streams[task].example(number))
            for task, number in row
        ]
        for row in rows
    ]
    heads = run_heads(run.instances)
    return make_batch(made, length, run.instances, heads, run.corpus.vocabulary.pad_id)  # type: ignore[arg-type]
