"""The stage of a task that comes to a finished run: numbers worked out by hand, and the paper's own
last stage.
"""

import pytest

from ernie_cmtl.errors import UserError
from ernie_cmtl.scheduling.extension import extending_budgets
from ernie_cmtl.scheduling.stages import Stage, StageTable


def table_of(*rows: dict[str, int]) -> StageTable:
    return StageTable(
        [Stage(name=f"stage-{number}", budgets=budgets) for number, budgets in enumerate(rows)]
    )


def test_the_fourth_task_gets_the_last_stage_of_the_table_of_the_paper():
    """Three tasks of 50 in all, whatever stages they had: 10 each beside the 50 of the fourth."""
    found = extending_budgets(table_of({"a": 30}, {"a": 20, "b": 40}, {"b": 10, "c": 50}), "d")
    assert found == {"a": 10, "b": 10, "c": 10, "d": 50}


def test_each_old_task_reviews_a_part_of_its_own_total():
    # Two old tasks: a quarter. 17.5, 2.5 and 0.25 are 18, 3 and the least, 1.
    assert extending_budgets(table_of({"a": 70}, {"b": 10}), "c") == {"a": 18, "b": 3, "c": 70}
    assert extending_budgets(table_of({"a": 70}, {"b": 1}), "c", budget=5) == {
        "a": 18,
        "b": 1,
        "c": 5,
    }
    # One old task: a third.
    assert extending_budgets(table_of({"a": 10}), "b") == {"a": 3, "b": 10}
    assert extending_budgets(table_of({"a": 11}), "b") == {"a": 4, "b": 11}


def grown(table: StageTable, task: str, **options: int) -> StageTable:
    added = Stage(
        name=task, budgets=extending_budgets(table, task, **options), restart_schedule=True
    )
    return StageTable([*table.stages, added])


def test_the_old_tasks_come_first_so_that_they_keep_their_rows():
    found = grown(table_of({"zoo": 4}, {"bee": 4, "zoo": 2}), "ant")
    assert found.tasks == ("zoo", "bee", "ant")
    assert found.ends == (4, 10, 10 + 2 + 1 + 6)
    assert found.restarts == (10,)


def test_another_share_is_taken_of_the_decimal_that_was_written():
    # As floats, 0.145 * 100 and 0.29 * 50 are below 14.5.
    assert extending_budgets(table_of({"a": 100}), "b", review=0.145)["a"] == 15
    assert extending_budgets(table_of({"a": 50}), "b", review=0.29)["a"] == 15
    assert extending_budgets(table_of({"a": 100}), "b", review=0.00001)["a"] == 1


def test_a_review_of_nothing_leaves_the_new_task_alone():
    assert extending_budgets(table_of({"a": 100, "b": 3}), "c", review=0) == {"c": 100}


def test_what_was_granted_counts_when_a_run_is_extended_again():
    once = grown(table_of({"a": 90}), "b", budget=60)
    assert once.totals == {"a": 120, "b": 60}
    assert extending_budgets(once, "c") == {"a": 30, "b": 15, "c": 120}


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("a", {}, r"'a' is there already; the run has a, b"),
        ("c", {"budget": 0}, r"budget 0 of task 'c' must be at least 1"),
        ("c", {"review": 1.0}, r"review 1.0 must be at least 0 and less than 1"),
        ("c", {"review": -0.1}, r"review -0.1 must be"),
        ("c", {"review": float("nan")}, r"review nan must be"),
    ],
)
def test_what_cannot_be_granted_is_refused(task, options, message):
    with pytest.raises(UserError, match=message):
        extending_budgets(table_of({"a": 4, "b": 4}), task, **options)
