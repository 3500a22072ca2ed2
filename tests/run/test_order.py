"""The global order of samples: whatever the workers and their loader processes, also where their
number changes on the way.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.loader import load_steps
from ernie_cmtl.records import Ledger, StepData
from ernie_cmtl.run.run import Run
from tests.support.runs import tiny_settings

CHANGE, STEPS = 131, 320
"""The number of workers changes after so many steps; the first stage ends after 160."""
QUICK = {("mixed", 2, 4, 2), ("one_task", 0, 1, 4)}
CASES = [
    pytest.param(*case, marks=[] if case in QUICK else [pytest.mark.slow])
    for case in product(("mixed", "one_task"), (0, 2), (1, 2, 4), (1, 2, 4))
]


def run_of(corpus: Corpus, mode: str, loader_workers: int) -> Run:
    settings: dict[str, Any] = tiny_settings(corpus, Path("unused")) | {"mode": mode}
    settings["stages"] = [
        {"name": "first", "budgets": {"knowledge_masking": 160}},
        {
            "name": "second",
            "budgets": {"knowledge_masking": 80, "capitalization": 50, "sentence_reordering": 30},
        },
    ]
    settings["data"] = {
        "row_length": 32,
        "rows": 8,
        "rows_per_group": 2,
        "loader_workers": loader_workers,
    }
    return Run(RunConfig.model_validate(settings))


def whole_steps(run: Run, ledger: Ledger, workers: int) -> Iterator[list[StepData]]:
    """Yield each step from a ledger on, as all workers together have it."""
    loaders = [load_steps(run.steps_from(ledger, STEPS, rank, workers)) for rank in range(workers)]
    yield from (list(parts) for parts in zip(*loaders, strict=True))


def digest(parts: list[StepData]) -> str:
    """Name all that stands in the rows of a step, in the order of the rows over all workers."""
    found = hashlib.sha256()
    for turn in zip(*(part.groups for part in parts), strict=True):
        for group in turn:
            for values in (
                group.token_ids,
                group.token_type_ids,
                group.task_type_ids,
                group.sequence_starts,
            ):
                found.update(values.tobytes())
            for head, targets in sorted(group.targets.items()):
                found.update(
                    head.encode()
                    + targets.positions.tobytes()
                    + targets.labels.tobytes()
                    + targets.tasks.tobytes()
                )
    return found.hexdigest()


@cache
def order(
    corpus: Corpus, mode: str, loaders: int, before: int, after: int
) -> list[tuple[str, tuple[float, ...], Ledger]]:
    """(rows, shares of the tasks, ledger) of each step of a run that one number of workers begins
    and another one ends.
    """
    run = run_of(corpus, mode, loaders)
    steps = []
    ledger = run.first_ledger()
    for workers, last in ((before, CHANGE), (after, STEPS)):
        # A run that is broken off has prepared steps ahead that it never takes.
        for parts in whole_steps(run, ledger, workers):
            assert len({(part.step, part.shares, part.ledger) for part in parts}) == 1
            assert parts[0].step == len(steps)
            steps.append((digest(parts), parts[0].shares, parts[0].ledger))
            if len(steps) == last:
                break
        ledger = steps[-1][2]
    return steps


@pytest.mark.parametrize(("mode", "loaders", "before", "after"), CASES)
def test_samples_come_in_one_order(
    english: Corpus, mode: str, loaders: int, before: int, after: int
) -> None:
    expected = order(english, mode, 0, 1, 1)
    assert len({rows for rows, _, _ in expected}) == STEPS
    assert [shares for _, shares, _ in expected[:160]] == [(1.0, 0.0, 0.0)] * 160
    assert expected[-1][2].iterations == pytest.approx((240, 50, 30), abs=0.5)
    assert order(english, mode, loaders, before, after) == expected
