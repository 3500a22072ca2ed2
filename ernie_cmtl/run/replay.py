"""What a step was made of: enough of it in a line of the log to make the very same batch again."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ernie_cmtl.data.loader import Shares
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.foreign_files import checked
from ernie_cmtl.records import Ledger, StepData
from ernie_cmtl.run.run import Run


def batch_line(run: Run, shares: Shares, before: Ledger, groups: Sequence[int]) -> dict[str, Any]:
    """Return what `replay` needs of a step, and for each task the samples and documents in some of
    its groups, or in all.

    shares: the plan of the run; before: the ledger before the step.
    """
    stage = run.stage_streams.of_steps(before.step, before.step + 1)[
        run.table.stage_of(before.step)
    ]
    planned = shares(before.step)
    rows = stage.plan(planned, before).rows
    size = stage.config.rows_per_group
    found: dict[int, list[int]] = {}
    for group in groups or range(stage.config.groups):
        for row in rows[group * size : (group + 1) * size]:
            for task, number in row:
                found.setdefault(task, []).append(number)
    samples = {
        run.table.tasks[task]: {
            "numbers": numbers,
            "documents": [_document(stage.streams[task], number) for number in numbers],
        }
        for task, numbers in sorted(found.items())
    }
    return {"ledger": asdict(before), "shares": planned, "samples": samples}


def _document(stream: SampleStream, number: int) -> int:
    return stream.corpus.document_at(stream.place(number)[0])


def replay(run: Run, line: Mapping[str, Any]) -> StepData:
    """Make the whole batch of a step again, all of its groups in order; line: `skipped` in the
    run's `metrics.jsonl`.
    """
    before = checked(line["ledger"], Ledger, "the line of the skipped step")
    shares = tuple(line["shares"])
    (data,) = run.steps_from(before, before.step + 1, 0, 1, lambda _: shares)
    return data
