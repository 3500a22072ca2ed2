"""Which samples stand in which row of a step.

Tasks take turns by weighted fair queueing (WF2Q, Bennett & Zhang 1996): a task never runs ahead of
its granted tokens by one of its longest samples, nor falls behind by the longest sample that any
task of the stage has. The samples of a step are then put into its rows longest first, each into the
fullest row that has room, and what they leave free is filled up. All of it sees only the slots of
the samples, so a step is planned without making an example.
"""

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.records import Ledger

_ROOM_BEHIND = 0.75
"""Part of the longest sample that a task may fall behind while the last places of a step are
filled; the rest is for turns.
"""

Row = list[tuple[int, int]]
"""The samples of a row: (number of the task instance, sample number)."""


_Sample = tuple[int, int, int]
"""(slot, number of the task instance, sample number)."""


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


class _Turns:
    """Whose turn it is: what each task was granted and took.

    What a task has taken is its share of the step's first `_begins` tokens, and with its next
    sample that of the first `_ends`.
    """

    def __init__(
        self, streams: Mapping[int, SampleStream], shares: Sequence[float], ledger: Ledger
    ) -> None:
        self.streams, self.shares = streams, shares
        self.tasks = [task for task, share in enumerate(shares) if share > 0]
        self.numbers = list(ledger.samples)
        self.taken = [0] * len(shares)
        self.total = 0
        self.slots = {task: streams[task].slot(self.numbers[task]) for task in self.tasks}
        """Of the next sample of each task."""
        self._ahead = [
            tokens - planned for tokens, planned in zip(ledger.tokens, ledger.planned, strict=True)
        ]
        self._behind = _ROOM_BEHIND * max(streams[task].longest for task in self.tasks)
        self._begins: dict[int, float] = {}
        self._ends: dict[int, float] = {}
        for task in self.tasks:
            self._move(task, 0, 0)

    def next(self) -> int:
        """Return the task whose turn it is: of those not ahead, the one that would be done
        first.
        """
        due = [task for task in self.tasks if self._begins[task] <= self.total] or self.tasks
        return min(due, key=self._ends.__getitem__)

    def take(self, task: int) -> _Sample:
        """Take the next sample of a task; return (slot, task, number)."""
        slot, number = self.slots[task], self.numbers[task]
        self._move(task, slot, 1)
        return slot, task, number

    def give_back(self, sample: _Sample) -> None:
        """Undo the last taking."""
        self._move(sample[1], -sample[0], -1)

    def _move(self, task: int, tokens: int, samples: int) -> None:
        self.taken[task] += tokens
        self.total += tokens
        self.numbers[task] += samples
        self.slots[task] = slot = self.streams[task].slot(self.numbers[task])
        self._begins[task] = (self._ahead[task] + self.taken[task]) / self.shares[task]
        self._ends[task] = self._begins[task] + slot / self.shares[task]

    def stays_fair(self, task: int) -> bool:
        """Tell whether, with its next sample, no task gets ahead by one of its longest, nor falls
        too far behind.
        """
        slot = self.slots[task]
        for other in self.tasks:
            before = self.shares[other] * (self._begins[other] - self.total)
            after = before - self.shares[other] * slot + (slot if other == task else 0)
            outside = after >= self.streams[other].longest or after <= -self._behind
            # Who was outside already only has to come nearer.
            if outside and abs(after) > abs(before):
                return False
        return True


def plan_step(
    streams: Mapping[int, SampleStream],
    shares: Sequence[float],
    ledger: Ledger,
    rows: int,
    length: int,
) -> StepPlan:
    """Fill the rows of a step with samples of the tasks in their shares.

    streams: number of each task with a share -> its samples; shares: one a task instance, summing
    to 1; ledger: before the step, its `samples` those of the streams, one a task instance. The same
    arguments give the same plan on every worker.
    """
    turns = _Turns(streams, shares, ledger)
    drawn: list[_Sample] = []
    while turns.total + turns.slots[task := turns.next()] <= rows * length:
        drawn.append(turns.take(task))
    space, placed, left = _place(drawn, rows, length)
    while left:
        for _ in range(left):
            turns.give_back(drawn.pop())
        space, placed, left = _place(drawn, rows, length)
    _fill_up(space, placed, turns)
    after = Ledger(
        step=ledger.step + 1,
        samples=tuple(turns.numbers),
        tokens=tuple(before + now for before, now in zip(ledger.tokens, turns.taken, strict=True)),
        planned=tuple(
            before + share * turns.total
            for before, share in zip(ledger.planned, shares, strict=True)
        ),
        iterations=tuple(
            before + now / turns.total
            for before, now in zip(ledger.iterations, turns.taken, strict=True)
        ),
    )
    return StepPlan(placed, after)


def _place(samples: Sequence[_Sample], rows: int, length: int) -> tuple[RowSpace, list[Row], int]:
    """Put samples into rows, longest first; return how many do not fit too."""
    space = RowSpace(rows, length)
    placed: list[Row] = [[] for _ in range(rows)]
    left = 0
    for slot, task, number in sorted(samples, reverse=True):
        row = space.place(slot)
        if row is None:
            left += 1
        else:
            placed[row].append((task, number))
    return space, placed, left


def _fill_up(space: RowSpace, placed: list[Row], turns: _Turns) -> None:
    """Take what still fits somewhere, while every task stays near its grant."""
    while fitting := [
        task
        for task in turns.tasks
        if turns.slots[task] <= space.largest and turns.stays_fair(task)
    ]:
        task = max(fitting, key=lambda one: turns.slots[one])
        row = space.place(turns.slots[task])
        assert row is not None
        placed[row].append(turns.take(task)[1:])
