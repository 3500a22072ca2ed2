"""plan(step): shares of the tasks."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_cmtl.scheduling.plan import Plan
from ernie_cmtl.scheduling.stages import Stage, StageTable

BUDGETS = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 12), min_size=1)
TABLES = st.lists(BUDGETS, min_size=1, max_size=4)


def make_table(rows: list[dict[str, int]]) -> StageTable:
    return StageTable(
        [Stage(name=f"stage-{number}", budgets=budgets) for number, budgets in enumerate(rows)]
    )


def drawn_tasks(rows: list[dict[str, int]], seed: int) -> list[str]:
    """The task of each step in one_task mode."""
    table = make_table(rows)
    plan = Plan(table, "one_task", seed)
    tasks = []
    for step in range(table.steps):
        shares = plan(step)
        assert sorted(shares) == [0.0] * (len(table.tasks) - 1) + [1.0]
        tasks.append(table.tasks[shares.index(1.0)])
    return tasks


@settings(max_examples=50, deadline=None)
@given(TABLES)
def test_mixed_shares_are_the_budgets_over_the_steps_of_the_stage(rows):
    table = make_table(rows)
    plan = Plan(table, "mixed", seed=1)
    step = 0
    for budgets in rows:
        steps = sum(budgets.values())
        expected = [budgets.get(task, 0) / steps for task in table.tasks]
        for _ in range(steps):
            assert plan(step) == pytest.approx(expected)
            assert sum(plan(step)) == pytest.approx(1)
            step += 1


@settings(max_examples=50, deadline=None)
@given(TABLES, st.integers(0, 1000))
def test_one_task_mode_draws_each_task_exactly_its_budget_in_every_stage(rows, seed):
    tasks = drawn_tasks(rows, seed)
    step = 0
    for budgets in rows:
        steps = sum(budgets.values())
        assert Counter(tasks[step : step + steps]) == budgets
        step += steps


def test_one_task_mode_spreads_a_task_over_its_stage():
    tasks = drawn_tasks([{"a": 200, "b": 200}], seed=3)
    for first in range(0, 400, 100):
        assert 25 <= tasks[first : first + 100].count("a") <= 75


@pytest.mark.parametrize("mode", ["mixed", "one_task"])
def test_plan_is_a_function_of_seed_and_step_alone(mode):
    table = make_table([{"a": 30}, {"a": 10, "b": 50}, {"c": 7, "a": 13}])
    plan = Plan(table, mode, seed=9)
    in_order = [plan(step) for step in range(table.steps)]
    steps = list(range(table.steps))
    Random(0).shuffle(steps)
    again = Plan(table, mode, seed=9)
    assert all(again(step) == in_order[step] for step in steps)


def test_seeds_and_stages_draw_differently():
    rows = [{"a": 40, "b": 40}, {"a": 40, "b": 40}]
    orders = [tuple(drawn_tasks(rows, seed)) for seed in range(10)]
    assert len(set(orders)) == 10
    # Two stages of one shape are not drawn alike.
    assert all(order[:80] != order[80:] for order in orders)
