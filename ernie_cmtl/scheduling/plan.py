"""plan(step): the share of each task in a step."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal

import numpy as np

from ernie_cmtl.randomness import KeyedPermutation, derive_key
from ernie_cmtl.records import IntArray
from ernie_cmtl.scheduling.stages import StageTable

Mode = Literal["mixed", "one_task"]


@dataclass(frozen=True)
class Revision:
    """What is left of a stage, shared out anew from a step on."""

    step: int
    budgets: Mapping[str, int]
    """Task instance -> iterations, summing to the steps that the stage has left."""


@dataclass(frozen=True)
class _Segment:
    """Steps over which nothing is shared out anew."""

    start: int
    budgets: Mapping[str, int]
    """Task instance -> iterations from the start to the end of the stage."""
    key: int

    @property
    def steps(self) -> int:
        return sum(self.budgets.values())

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(self.budgets.values()))

    @cached_property
    def _order(self) -> KeyedPermutation:
        # Drawing in proportion to what is left of each budget is a random order of all iterations.
        return KeyedPermutation(self.steps, self.key)

    def drawn(self, first: int, last: int) -> IntArray:
        """Return the place in `budgets` of the task that each of the steps first..last-1 serves
        alone.
        """
        return np.searchsorted(
            self._ends, self._order(np.arange(first, last) - self.start), side="right"
        )


class Plan:
    """Shares of the tasks, a pure function of (table, revisions, mode, seed, step)."""

    def __init__(
        self, table: StageTable, mode: Mode, seed: int, revisions: Sequence[Revision] = ()
    ) -> None:
        self.table, self.mode, self.revisions = table, mode, tuple(revisions)
        starts = (0, *table.ends[:-1])
        segments = [
            _Segment(start, stage.budgets, derive_key(seed, "stage", stage.name))
            for start, stage in zip(starts, table.stages, strict=True)
        ]
        for revision in revisions:
            name = table.stages[table.stage_of(revision.step)].name
            segments.append(
                _Segment(
                    revision.step, revision.budgets, derive_key(seed, "stage", name, revision.step)
                )
            )
        # A revision at the first step of a stage stands behind the stage itself.
        self._segments = sorted(segments, key=lambda segment: segment.start)
        self._starts = [segment.start for segment in self._segments]

    def __call__(self, step: int) -> tuple[float, ...]:
        """Return the share of each task of the table, summing to 1: in proportion to the budgets,
        or all to one task.
        """
        segment = self._segment(step)
        if self.mode == "mixed":
            return tuple(segment.budgets.get(task, 0) / segment.steps for task in self.table.tasks)
        drawn = list(segment.budgets)[int(segment.drawn(step, step + 1)[0])]
        return tuple(float(task == drawn) for task in self.table.tasks)

    def left(self, step: int) -> dict[str, float]:
        """Return what is left of each task's budget in the stage of a step, before it; in mixed
        mode a fraction.
        """
        segment = self._segment(step)
        if self.mode == "mixed":
            part = 1 - (step - segment.start) / segment.steps
            return {task: budget * part for task, budget in segment.budgets.items()}
        done = np.bincount(segment.drawn(segment.start, step), minlength=len(segment.budgets))
        return {
            task: float(budget - served)
            for (task, budget), served in zip(segment.budgets.items(), done, strict=True)
        }

    def _segment(self, step: int) -> _Segment:
        return self._segments[bisect_right(self._starts, step) - 1]
