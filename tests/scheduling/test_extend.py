"""The stage of a task that comes to a finished run: numbers worked out by hand, and the paper's own last stage."""

import pytest

from ernie_cmtl.errors import UserError
from ernie_cmtl.scheduling.extend import extending_stage
from ernie_cmtl.scheduling.stages import Stage, StageTable


def table_of(*rows: dict[str, int]) -> StageTable:
    return StageTable([Stage(name=f"stage-{number}", budgets=budgets) for number, budgets in enumerate(rows)])


def test_the_fourth_task_gets_the_last_stage_of_the_table_of_the_paper():
    """Three tasks of 50 in all, whatever stages they had: 10 each beside the 50 of the fourth."""
    stage = extending_stage(table_of({"a": 30}, {"a": 20, "b": 40}, {"b": 10, "c": 50}), "d")
    assert stage.budgets == {"a": 10, "b": 10, "c": 10, "d": 50}
    assert (stage.name, stage.restart_schedule) == ("d", True)
    assert stage.shape == {}


def test_each_old_task_reviews_a_part_of_its_own_total():
    # Two old tasks: a quarter. 17.5, 2.5 and 0.25 are 18, 3 and the least, 1.
    assert extending_stage(table_of({"a": 70}, {"b": 10}), "c").budgets == {"a": 18, "b": 3, "c": 70}
    assert extending_stage(table_of({"a": 70}, {"b": 1}), "c", budget=5).budgets == {"a": 18, "b": 1, "c": 5}
    # One old task: a third.
    assert extending_stage(table_of({"a": 10}), "b").budgets == {"a": 3, "b": 10}
    assert extending_stage(table_of({"a": 11}), "b").budgets == {"a": 4, "b": 11}


def test_the_old_tasks_come_first_so_that_they_keep_their_rows():
    table = table_of({"zoo": 4}, {"bee": 4, "zoo": 2})
    grown = StageTable([*table.stages, extending_stage(table, "ant", name="late")])
    assert grown.tasks == ("zoo", "bee", "ant")
    assert grown.ends == (4, 10, 10 + 2 + 1 + 6)
    assert grown.restarts == (10,)
    assert grown.stages[-1].name == "late"


def test_another_share_is_taken_of_the_decimal_that_was_written():
    # As floats, 0.145 * 100 and 0.29 * 50 are below 14.5.
    assert extending_stage(table_of({"a": 100}), "b", review=0.145).budgets["a"] == 15
    assert extending_stage(table_of({"a": 50}), "b", review=0.29).budgets["a"] == 15
    assert extending_stage(table_of({"a": 100}), "b", review=0.00001).budgets["a"] == 1


def test_a_review_of_nothing_leaves_the_new_task_alone():
    assert extending_stage(table_of({"a": 100, "b": 3}), "c", review=0).budgets == {"c": 100}


def test_what_was_granted_counts_when_a_run_is_extended_again():
    table = table_of({"a": 90})
    once = StageTable([*table.stages, extending_stage(table, "b", budget=60)])
    assert once.totals == {"a": 120, "b": 60}
    assert extending_stage(once, "c").budgets == {"a": 30, "b": 15, "c": 120}


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
        extending_stage(table_of({"a": 4, "b": 4}), task, **options)
