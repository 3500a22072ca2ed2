"""Which samples stand in which row of a step.

Tasks take turns by weighted fair queueing (WF2Q, Bennett & Zhang 1996): a task never runs ahead of its granted tokens by one of
its longest samples, nor falls behind by the longest sample that any task of the stage has. Rows are filled best-fit. Both see
only the slots of the samples, so a step is planned without making an example.
"""

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.records import Ledger

_ROOM_BEHIND = 0.75
"""Part of the longest sample that a task may fall behind while the last places of a step are filled; the rest is for turns."""

Row = list[tuple[int, int]]
"""The samples of a row: (number of the task instance, sample number)."""


class RowSpace:
    """Rows of fixed length that fill up."""

    def __init__(self, rows: int, length: int) -> None:
        self.length = length
        self._free = [(length, row) for row in range(rows)]

    def open_row(self, row: int) -> None:
        """Add an empty row."""
        insort(self._free, (self.length, row))

    def place(self, size: int) -> int | None:
        """Put a sample into the fullest row that has room; return that row, or None."""
        at = bisect_left(self._free, (size, -1))
        if at == len(self._free):
            return None
        space, row = self._free.pop(at)
        insort(self._free, (space - size, row))
        return row

    @property
    def largest(self) -> int:
        """Tokens of the largest free space."""
        return self._free[-1][0] if self._free else 0


@dataclass(frozen=True)
class StepPlan:
    """The samples of one step, for all workers."""

    rows: list[Row]
    ledger: Ledger
    """The ledger after the step."""


def plan_step(streams: Mapping[int, SampleStream], shares: Sequence[float], ledger: Ledger, rows: int, length: int) -> StepPlan:
    """Fill the rows of a step with samples of the tasks in their shares.

    streams: number of each task with a share -> its samples; shares: one a task instance, summing to 1; ledger: before the
    step, its `samples` those of the streams, one a task instance. The same arguments give the same plan on every worker.
    """
    space = RowSpace(rows, length)
    placed: list[Row] = [[] for _ in range(rows)]
    numbers = list(ledger.samples)
    # Tokens by which a task is ahead of what it was granted.
    ahead = [tokens - planned for tokens, planned in zip(ledger.tokens, ledger.planned, strict=True)]
    served = [0] * len(shares)
    open_tasks = [task for task, share in enumerate(shares) if share > 0]
    behind = _ROOM_BEHIND * max(streams[task].longest for task in open_tasks)
    # Once something did not fit, tasks no longer take turns freely: a place is filled only while everyone stays near its grant.
    full = False
    while open_tasks:
        task, slot = _next(open_tasks, streams, shares, ahead, numbers)
        full |= slot > space.largest
        if slot > space.largest or (full and not _stays_fair(task, slot, streams, shares, ahead, behind)):
            open_tasks.remove(task)
            continue
        row = space.place(slot)
        assert row is not None
        placed[row].append((task, numbers[task]))
        numbers[task] += 1
        served[task] += slot
        ahead[task] += slot
        for other, share in enumerate(shares):
            ahead[other] -= share * slot
    total = sum(served)
    after = Ledger(
        step=ledger.step + 1,
        samples=tuple(numbers),
        tokens=tuple(before + now for before, now in zip(ledger.tokens, served, strict=True)),
        planned=tuple(before + share * total for before, share in zip(ledger.planned, shares, strict=True)),
        iterations=tuple(before + now / total for before, now in zip(ledger.iterations, served, strict=True)),
    )
    return StepPlan(placed, after)


def _next(
    tasks: Sequence[int],
    streams: Mapping[int, SampleStream],
    shares: Sequence[float],
    ahead: Sequence[float],
    numbers: Sequence[int],
) -> tuple[int, int]:
    """Return the task whose turn it is and its next slot: of those not ahead, the one that would be done first."""
    slots = {task: streams[task].slot(numbers[task]) for task in tasks}
    behind = [task for task in tasks if ahead[task] <= 0] or tasks
    task = min(behind, key=lambda t: (ahead[t] + slots[t]) / shares[t])
    return task, slots[task]


def _stays_fair(
    task: int,
    slot: int,
    streams: Mapping[int, SampleStream],
    shares: Sequence[float],
    ahead: Sequence[float],
    behind: float,
) -> bool:
    """Tell whether no task gets ahead by one of its longest samples, nor falls behind by more than `behind` tokens."""
    for other, share in enumerate(shares):
        if share > 0:
            after = ahead[other] - share * slot + (slot if other == task else 0)
            outside = after >= streams[other].longest or after <= -behind
            # Who was outside already only has to come nearer.
            if outside and abs(after) > abs(ahead[other]):
                return False
    return True
