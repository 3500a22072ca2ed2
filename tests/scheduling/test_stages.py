"""The stage table."""

import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ernie_cmtl.scheduling.stages import Stage, StageTable

BUDGETS = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 12), min_size=1)


def make_table(rows: list[dict[str, int]]) -> StageTable:
    return StageTable(
        [Stage(name=f"stage-{number}", budgets=budgets) for number, budgets in enumerate(rows)]
    )


def test_totals_of_the_table_of_the_paper():
    table = make_table(
        [
            {"a": 20},
            {"a": 10, "b": 30},
            {"a": 10, "b": 10, "c": 40},
            {"a": 10, "b": 10, "c": 10, "d": 50},
        ]
    )
    assert table.totals == {"a": 50, "b": 50, "c": 50, "d": 50}
    assert table.tasks == ("a", "b", "c", "d")
    assert [stage.steps for stage in table.stages] == [20, 40, 60, 80]
    assert table.ends == (20, 60, 120, 200)
    assert table.steps == 200


def test_tasks_stand_in_order_of_introduction():
    table = make_table(
        [{"words": 1, "order": 1}, {"capitals": 2, "words": 1}, {"distance": 1, "order": 1}]
    )
    assert table.tasks == ("words", "order", "capitals", "distance")


@settings(max_examples=50, deadline=None)
@given(st.lists(BUDGETS, min_size=1, max_size=5))
def test_every_step_belongs_to_the_stage_that_lists_it(rows):
    table = make_table(rows)
    expected = [number for number, budgets in enumerate(rows) for _ in range(sum(budgets.values()))]
    assert table.steps == len(expected)
    assert [table.stage_of(step) for step in range(table.steps)] == expected
    assert sum(table.totals.values()) == table.steps
    introduced = [
        next(number for number, budgets in enumerate(rows) if task in budgets)
        for task in table.tasks
    ]
    assert all(first <= second for first, second in pairwise(introduced))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "s", "budgets": {"words": 0}}, "budget of 'words' is 0"),
        ({"name": "s", "budgets": {"words": 5, "order": -3}}, "budget of 'order' is -3"),
        ({"name": "s", "budgets": {}}, "at least one task"),
        ({"name": "s", "budgets": {"words": 1.5}}, "budgets.words"),
        ({"name": "two words", "budgets": {"words": 1}}, "name"),
        ({"name": "", "budgets": {"words": 1}}, "name"),
        ({"name": "s"}, "budgets"),
        ({"name": "s", "budgets": {"words": 1}, "step": 3}, "step"),
    ],
)
def test_bad_stage_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Stage.model_validate(fields)


def test_scheduling_is_read_without_torch():
    code = """
import importlib, pkgutil, sys
import ernie_cmtl.scheduling as package
names = [module.name for module in pkgutil.iter_modules(package.__path__)]
assert {"plan", "stages"} <= set(names), names
for name in names:
    importlib.import_module(f"{package.__name__}.{name}")
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
