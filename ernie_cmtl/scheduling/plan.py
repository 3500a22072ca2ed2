"""plan(step): the share of each task in a step."""

from bisect import bisect_right
from itertools import accumulate
from typing import Literal

from ernie_cmtl.randomness import KeyedPermutation, derive_key
from ernie_cmtl.scheduling.stages import StageTable

Mode = Literal["mixed", "one_task"]


class Plan:
    """Shares of the tasks, a pure function of (table, mode, seed, step)."""

    def __init__(self, table: StageTable, mode: Mode, seed: int) -> None:
        self.table, self.mode = table, mode
        # Drawing in proportion to what is left of each budget is a random order of all iterations of the stage.
        self._orders = [KeyedPermutation(s.steps, derive_key(seed, "stage", s.name)) for s in table.stages]

    def __call__(self, step: int) -> tuple[float, ...]:
        """Return the share of each task of the table, summing to 1: in proportion to the budgets, or all to one task."""
        number = self.table.stage_of(step)
        stage = self.table.stages[number]
        if self.mode == "mixed":
            return tuple(stage.budgets.get(task, 0) / stage.steps for task in self.table.tasks)
        iteration = int(self._orders[number](step - (self.table.ends[number] - stage.steps))[0])
        drawn = list(stage.budgets)[bisect_right(list(accumulate(stage.budgets.values())), iteration)]
        return tuple(float(task == drawn) for task in self.table.tasks)
