"""Which samples stand in which row."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_cmtl.config import RunConfig
from ernie_cmtl.data.packing import RowSpace, StepPlan, plan_step
from ernie_cmtl.records import Ledger
from ernie_cmtl.run.run import Run
from ernie_cmtl.scheduling.plan import Plan
from ernie_cmtl.scheduling.stages import Stage, StageTable
from tests.support.runs import tiny_settings

ROWS = 24


@dataclass(frozen=True)
class FixedSlots:
    """Stands for a stream: samples of given slots, over and over."""

    slots: tuple[int, ...]

    @cached_property
    def longest(self) -> int:
        return max(self.slots)

    def slot(self, number: int) -> int:
        return self.slots[number % len(self.slots)]


@dataclass(frozen=True)
class Case:
    streams: list[FixedSlots]
    shares: list[list[float]]
    """Of each stage."""
    length: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    length = draw(st.sampled_from([32, 128, 512]))
    streams = []
    for _ in range(draw(st.integers(1, 4))):
        longest = draw(st.integers(length // 10, length))
        slots = draw(st.lists(st.integers(max(3, longest // 3), longest), min_size=1, max_size=30))
        streams.append(FixedSlots(tuple(slots)))
    stages = []
    for _ in range(draw(st.integers(1, 2))):
        budgets = draw(
            st.lists(st.integers(0, 10), min_size=len(streams), max_size=len(streams)).filter(any)
        )
        stages.append([budget / sum(budgets) for budget in budgets])
    return Case(streams, stages, length)


def empty_ledger(tasks: int) -> Ledger:
    return Ledger(0, (0,) * tasks, (0,) * tasks, (0.0,) * tasks, (0.0,) * tasks)


def run_steps(case: Case, steps: int = 4) -> list[tuple[list[float], Ledger, StepPlan]]:
    """(shares, ledger before, plan) of a few steps in each stage."""
    done = []
    ledger = empty_ledger(len(case.streams))
    for shares in case.shares:
        for _ in range(steps):
            plan = plan_step(case.streams, shares, ledger, ROWS, case.length)  # type: ignore[arg-type]
            done.append((shares, ledger, plan))
            ledger = plan.ledger
    return done


@settings(max_examples=60, deadline=None)
@given(cases())
def test_no_row_is_overfull_and_samples_come_in_order(case):
    for shares, before, plan in run_steps(case):
        assert len(plan.rows) == ROWS
        assert plan.ledger.step == before.step + 1
        tokens = [0] * len(case.streams)
        for row in plan.rows:
            slots = [case.streams[task].slot(number) for task, number in row]
            assert sum(slots) <= case.length
            for (task, _), slot in zip(row, slots, strict=True):
                tokens[task] += slot
        for task, share in enumerate(shares):
            taken = sorted(number for row in plan.rows for other, number in row if other == task)
            assert taken == list(range(before.samples[task], plan.ledger.samples[task]))
            assert share > 0 or not taken
            assert plan.ledger.tokens[task] - before.tokens[task] == tokens[task]
            assert plan.ledger.planned[task] - before.planned[task] == pytest.approx(
                share * sum(tokens), abs=1e-6
            )


@settings(max_examples=100, deadline=None)
@given(cases())
def test_no_task_is_off_its_plan_by_a_sample(case):
    longest = 0
    for shares, _, plan in run_steps(case):
        off = [
            tokens - planned
            for tokens, planned in zip(plan.ledger.tokens, plan.ledger.planned, strict=True)
        ]
        active = [task for task, share in enumerate(shares) if share > 0]
        longest = max(longest, *(case.streams[task].longest for task in active))
        # What tasks without a share were ahead or behind when they left stays with those that have
        # one.
        left = abs(sum(off[task] for task in active)) + 1e-6
        for task in active:
            # Ahead: by less than a sample of its own; behind: by less than a sample of whoever had
            # the turn.
            assert -longest - left < off[task] < case.streams[task].longest + left


@settings(max_examples=60, deadline=None)
@given(cases())
def test_every_step_is_filled_whatever_the_lengths_of_the_tasks(case):
    # A step is large beside a sample, so a task of long samples must not wait for one of short
    # samples, or the reverse.
    for _, before, plan in run_steps(case):
        taken = sum(plan.ledger.tokens) - sum(before.tokens)
        assert taken > 0.3 * ROWS * case.length


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1), (0.2, 0.8)])
def test_short_samples_beside_long_ones_fill_their_rows(shares):
    # As with `maximum_length: 64` for one of two tasks and rows of 512 tokens.
    short = np.random.default_rng(0).integers(30, 65, size=500).tolist()
    case = Case([FixedSlots((512,) * 9 + (200,)), FixedSlots(tuple(short))], [list(shares)], 512)
    steps = run_steps(case, steps=20)
    assert sum(steps[-1][2].ledger.tokens) / (len(steps) * ROWS * case.length) > 0.85


@pytest.mark.parametrize(("rows", "least"), [(32, 0.985), (8, 0.965)])
def test_a_mix_of_seven_tasks_leaves_hardly_a_place_free(rows, least):
    """Lengths as of the paper's tasks in rows of 512: whole windows and the ends of documents, runs
    of sentences, pairs.
    """
    rng = np.random.default_rng(0)
    windows = [
        np.where(rng.random(400) < 0.6, 512, rng.integers(20, 512, size=400)) for _ in range(3)
    ]
    runs = [rng.integers(250, 513, size=400), rng.integers(150, 513, size=400)]
    pairs = [rng.integers(25, 110, size=400), rng.integers(90, 132, size=400)]
    streams = dict(
        enumerate(FixedSlots(tuple(slots.tolist())) for slots in (*windows, *runs, *pairs))
    )
    ledger = empty_ledger(7)
    for _ in range(60):
        ledger = plan_step(streams, [1 / 7] * 7, ledger, rows, 512).ledger  # type: ignore[arg-type]
    assert sum(ledger.tokens) / (60 * rows * 512) > least


def test_samples_that_leave_half_a_row_free_are_planned_too():
    # Twice as many have been drawn as the rows can hold.
    plan = plan_step({0: FixedSlots((257,))}, [1.0], empty_ledger(1), 24, 512)  # type: ignore[dict-item]
    assert [len(row) for row in plan.rows] == [1] * 24
    assert plan.ledger.samples == (24,)
    assert plan.ledger.tokens == (24 * 257,)


@settings(max_examples=20, deadline=None)
@given(cases())
def test_the_same_ledger_gives_the_same_step(case):
    for (shares, before, plan), (_, _, again) in zip(run_steps(case), run_steps(case), strict=True):
        assert plan == again
        assert plan_step(case.streams, shares, before, ROWS, case.length) == plan


def test_one_task_steps_hold_that_task_alone_and_are_exact():
    table = StageTable(
        [Stage(name="one", budgets={"a": 6, "b": 9}), Stage(name="two", budgets={"c": 5, "a": 5})]
    )
    shares_of = Plan(table, "one_task", seed=4)
    streams = [FixedSlots((64,)), FixedSlots((20, 33, 41)), FixedSlots((7, 9))]
    ledger = empty_ledger(3)
    served = dict.fromkeys(table.tasks, 0)
    for step in range(table.steps):
        shares = shares_of(step)
        plan = plan_step(streams, shares, ledger, rows=8, length=64)  # type: ignore[arg-type]
        tasks = {task for row in plan.rows for task, _ in row}
        assert tasks == {shares.index(1.0)}
        served[table.tasks[shares.index(1.0)]] += 1
        # Rows of the longest sample are full, the others have less room left than their next
        # sample.
        assert all(row for row in plan.rows)
        ledger = plan.ledger
        assert list(ledger.tokens) == pytest.approx(list(ledger.planned))
    assert served == table.totals


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.lists(st.integers(1, 64), max_size=60))
def test_sample_goes_into_the_fullest_row_that_has_room(rows, sizes):
    space = RowSpace(rows, 64)
    free = [64] * rows
    for size in sizes:
        row = space.place(size)
        fitting = [room for room in free if room >= size]
        if row is None:
            assert not fitting
        else:
            assert free[row] == min(fitting)
            free[row] -= size
        assert space.largest == max(free)
    space.open_row(rows)
    assert space.largest == 64
    assert space.place(64) is not None


def test_rows_of_several_samples_are_fuller(english, tmp_path):
    found = {}
    for row_length, rows in ((48, 32), (384, 4)):
        data = {
            "row_length": row_length,
            "maximum_length": 48,
            "rows": rows,
            "rows_per_group": rows,
        }
        run = Run(
            RunConfig.model_validate(tiny_settings(english, tmp_path / "run") | {"data": data})
        )
        steps = list(run.steps_from(run.first_ledger(), run.table.steps, rank=0, workers=1))
        batches = [group for step in steps for group in step.groups]
        assert all(batch.token_ids.shape == (rows, row_length) for batch in batches)
        assert max(int(batch.sequence_lengths.max()) for batch in batches) <= 48
        assert max(int(batch.position_ids.max()) for batch in batches) < 48
        found[row_length] = sum(step.real_tokens for step in steps) / sum(
            step.slots for step in steps
        )
    assert found[384] > 0.97 > found[48] + 0.01, found


@pytest.mark.parametrize("mode", ["mixed", "one_task"])
def test_rows_of_real_text_are_nearly_full(english, tmp_path, mode):
    changes = {"mode": mode, "data": {"row_length": 64, "rows": 32, "rows_per_group": 32}}
    run = Run(RunConfig.model_validate(tiny_settings(english, tmp_path / "run") | changes))
    steps = list(run.steps_from(run.first_ledger(), run.table.steps, rank=0, workers=1))
    assert sum(step.real_tokens for step in steps) / sum(step.slots for step in steps) > 0.9
    for step in steps:
        places = sum(
            int((group.token_ids != run.corpus.vocabulary.pad_id).sum()) for group in step.groups
        )
        assert step.real_tokens == places
        assert step.slots == 32 * 64
