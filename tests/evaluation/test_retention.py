"""The retention matrix: every measure worked out by hand on small tables, and what holds for any
table.
"""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_cmtl.evaluation.retention import Measurement, Stages, retention, tidy_table
from tests.support.imports import imports_of

STAGES = Stages(("one", "two", "three"), (10, 20, 30), {"a": 1, "b": 2, "c": 3})
"""Task a from the first stage on, b from the second, c in the third."""


def measured(metric: str, *rows: tuple[int, dict[str, float]]) -> list[Measurement]:
    """Measurements of one metric; rows: (step, head -> value)."""
    other = {"loss": {"accuracy": None}, "accuracy": {"loss": 1.0}}[metric]
    return [
        Measurement(step, {f"{n}/x": other | {metric: v, "labels": 5} for n, v in scores.items()})
        for step, scores in rows
    ]


ACCURACIES = measured(
    "accuracy",
    (0, {"a": 0.10, "b": 0.20, "c": 0.30}),
    (10, {"a": 0.80, "b": 0.25, "c": 0.30}),
    (15, {"a": 0.50, "b": 0.40, "c": 0.28}),
    (20, {"a": 0.70, "b": 0.90, "c": 0.45}),
    (25, {"a": 0.72, "b": 0.85, "c": 0.50}),
    (30, {"a": 0.75, "b": 0.60, "c": 0.95}),
)


def test_the_measures_in_accuracy_are_those_worked_out_by_hand() -> None:
    found = retention(ACCURACIES, STAGES)["heads"]["accuracy"]
    assert found["a/x"] == {
        "final": 0.75,
        "backward_transfer": pytest.approx(0.75 - 0.80),
        # It was there from the first stage: no earlier one could have prepared it.
        "forward_transfer": None,
        "forgetting": pytest.approx(0.80 - 0.75),
        # 0.80 fell to 0.50 in stage two; 0.70 did not fall in stage three, where the worst was
        # 0.72.
        "stability_gap": pytest.approx((0.30 - 0.02) / 2),
        "stability_gaps": {"two": pytest.approx(0.30), "three": pytest.approx(-0.02)},
    }
    assert found["b/x"] == {
        "final": 0.60,
        "backward_transfer": pytest.approx(0.60 - 0.90),
        "forward_transfer": pytest.approx(0.25 - 0.20),
        "forgetting": pytest.approx(0.90 - 0.60),
        # The worst place of a stage may be its end.
        "stability_gap": pytest.approx(0.30),
        "stability_gaps": {"three": pytest.approx(0.30)},
    }
    assert found["c/x"] == {
        "final": 0.95,
        "backward_transfer": None,
        "forward_transfer": pytest.approx(0.45 - 0.30),
        "forgetting": None,
        "stability_gap": None,
        "stability_gaps": {},
    }


def test_the_summary_is_the_mean_over_the_tasks_that_have_the_measure() -> None:
    assert retention(ACCURACIES, STAGES)["summary"]["accuracy"] == {
        "average": pytest.approx((0.75 + 0.60 + 0.95) / 3),
        "backward_transfer": pytest.approx((-0.05 - 0.30) / 2),
        "forward_transfer": pytest.approx((0.05 + 0.15) / 2),
        "forgetting": pytest.approx((0.05 + 0.30) / 2),
        "stability_gap": pytest.approx((0.14 + 0.30) / 2),
    }


LOSSES = measured(
    "loss",
    (0, {"a": 10.0, "b": 2.0}),
    (10, {"a": 4.0, "b": 1.5}),
    (15, {"a": 8.0, "b": 1.2}),
    (20, {"a": 2.0, "b": 1.0}),
    (30, {"a": 6.0, "b": 1.0}),
)


def test_losses_are_normalised_by_what_was_learned_and_less_is_better() -> None:
    found = retention(LOSSES, STAGES)
    # (loss - 2) / (10 - 2): 1, 0.25, 0.75 inside stage two, 0, 0.5.
    assert found["heads"]["normalised_loss"]["a/x"] == {
        "final": 0.5,
        "backward_transfer": pytest.approx(0.25 - 0.5),
        "forward_transfer": None,
        "forgetting": pytest.approx(0.5 - 0.0),
        # Stage three was measured at its end alone.
        "stability_gap": pytest.approx(0.75 - 0.25),
        "stability_gaps": {"two": pytest.approx(0.5)},
    }
    # (loss - 1) / (2 - 1): 1, 0.5, 0.2, 0, 0.
    assert found["heads"]["normalised_loss"]["b/x"] == {
        "final": 0.0,
        "backward_transfer": pytest.approx(0.0),
        "forward_transfer": pytest.approx(1 - 0.5),
        "forgetting": pytest.approx(0.0),
        "stability_gap": None,
        "stability_gaps": {},
    }
    assert found["heads"]["accuracy"] == {}
    assert found["summary"]["normalised_loss"]["average"] == pytest.approx(0.25)
    assert set(found["summary"]["accuracy"].values()) == {None}


def test_the_heads_of_a_task_count_together_as_one_task() -> None:
    stages = Stages(("one", "two"), (1, 2), {"a": 1, "b": 1})
    rows = [{"a/x": 0.9, "a/y": 0.5, "b/x": 0.4}, {"a/x": 0.8, "a/y": 0.2, "b/x": 0.4}]
    steps = [
        Measurement(step, {head: {"accuracy": v} for head, v in row.items()})
        for step, row in enumerate(rows, 1)
    ]
    summary = retention(steps, stages)["summary"]["accuracy"]
    assert summary["average"] == pytest.approx(((0.8 + 0.2) / 2 + 0.4) / 2)
    assert summary["forgetting"] == pytest.approx(((0.1 + 0.3) / 2 + 0) / 2)


def test_the_matrix_has_a_row_for_the_start_and_each_end_and_none_for_what_is_between() -> None:
    matrix = retention(ACCURACIES, STAGES)["matrix"]
    assert [(row["stage"], row["step"]) for row in matrix] == [
        ("start", 0),
        ("one", 10),
        ("two", 20),
        ("three", 30),
    ]
    assert matrix[2]["tasks"]["b/x"] == {"loss": 1.0, "accuracy": 0.9, "majority": None}


def test_a_run_that_is_under_way_is_measured_by_the_stages_that_it_has_finished() -> None:
    found = retention(ACCURACIES[:5], STAGES)
    assert [row["stage"] for row in found["matrix"]] == ["start", "one", "two"]
    # Step 25 lies in a stage whose end nobody has seen; c has not begun and is only prepared.
    assert found["summary"]["accuracy"] == {
        "average": pytest.approx((0.70 + 0.90) / 2),
        "backward_transfer": pytest.approx(0.70 - 0.80),
        "forward_transfer": pytest.approx(((0.25 - 0.20) + (0.45 - 0.30)) / 2),
        "forgetting": pytest.approx(0.80 - 0.70),
        "stability_gap": pytest.approx(0.30),
    }


def test_what_was_not_measured_is_missing_and_never_zero() -> None:
    found = retention([row for row in ACCURACIES if row.step not in (0, 20)], STAGES)
    assert [row["stage"] for row in found["matrix"]] == ["one", "three"]
    assert found["heads"]["accuracy"]["a/x"]["forgetting"] == pytest.approx(0.05)
    assert found["heads"]["accuracy"]["b/x"]["backward_transfer"] is None
    assert found["heads"]["accuracy"]["b/x"]["forward_transfer"] is None
    assert found["heads"]["accuracy"]["a/x"]["stability_gaps"] == {"two": pytest.approx(0.3)}
    # Without the start nobody knows how much was learned.
    assert set(found["summary"]["normalised_loss"].values()) == {None}


@pytest.mark.parametrize("rows", [[], ACCURACIES[:1], ACCURACIES[2:3]])
def test_without_the_end_of_a_stage_there_is_no_measure(rows: list[Measurement]) -> None:
    found = retention(rows, STAGES)
    assert [row["step"] for row in found["matrix"]] == [row.step for row in rows if row.step == 0]
    summary = found["summary"]["accuracy"]
    assert {name for name, value in summary.items() if value is not None} == set()
    json.dumps(found, allow_nan=False)


def test_a_stage_that_is_called_start_is_a_stage() -> None:
    stages = Stages(("start", "end"), (1, 2), {"a": 1})
    found = retention(
        measured("accuracy", (0, {"a": 0.1}), (1, {"a": 0.5}), (2, {"a": 0.2})), stages
    )
    assert [(row["stage"], row["step"]) for row in found["matrix"]] == [
        ("start", 0),
        ("start", 1),
        ("end", 2),
    ]
    assert found["summary"]["accuracy"]["forgetting"] == pytest.approx(0.3)


def test_the_table_has_a_row_for_each_value_and_none_for_what_is_missing() -> None:
    rows = [
        Measurement(
            0,
            {
                "a/x": {
                    "loss": 2.5,
                    "accuracy": 0.25,
                    "labels": 8,
                    "given": {"2 segments": {"loss": 1.0}},
                }
            },
        ),
        Measurement(
            15,
            {
                "a/x": {"loss": 2.0, "accuracy": None, "labels": 8},
                "b/y": {"loss": 0.1, "labels": 3},
            },
        ),
    ]
    assert list(csv.reader(io.StringIO(tidy_table(rows, STAGES)))) == [
        ["stage", "step", "task", "head", "metric", "value"],
        ["start", "0", "a", "x", "loss", "2.5"],
        ["start", "0", "a", "x", "accuracy", "0.25"],
        ["start", "0", "a", "x", "labels", "8"],
        ["two", "15", "a", "x", "loss", "2.0"],
        ["two", "15", "a", "x", "labels", "8"],
        ["two", "15", "b", "y", "loss", "0.1"],
        ["two", "15", "b", "y", "labels", "3"],
    ]


@pytest.mark.parametrize(("step", "stage"), [(0, 0), (1, 1), (10, 1), (11, 2), (20, 2), (30, 3)])
def test_the_last_step_of_a_stage_is_its_own(step: int, stage: int) -> None:
    assert STAGES.number(step) == stage


def test_it_needs_no_torch() -> None:
    ours = {
        name
        for name in imports_of("ernie_cmtl.evaluation.retention")
        if name.startswith(("ernie_cmtl", "torch"))
    }
    assert not ours


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Measurement], Stages]:
    """Tasks that begin in any stage, measured at the start, at every end and at some places
    between.
    """
    count = draw(st.integers(1, 4))
    stages = Stages(
        tuple(f"s{n}" for n in range(count)),
        tuple(4 * (n + 1) for n in range(count)),
        {f"t{n}": draw(st.integers(1, count)) for n in range(draw(st.integers(1, 3)))},
    )
    between = draw(st.sets(st.integers(1, 4 * count)))
    values = st.tuples(st.floats(0.01, 10), st.floats(0, 1))
    rows = []
    for step in sorted({0, *stages.ends, *between}):
        scores: dict[str, Any] = {}
        for task in stages.introduced:
            loss, accuracy = draw(values)
            scores[f"{task}/x"] = {"loss": loss, "accuracy": accuracy, "labels": 1}
        rows.append(Measurement(step, scores))
    return rows, stages


@given(histories())
def test_measures_agree_with_one_another(history: tuple[list[Measurement], Stages]) -> None:
    rows, stages = history
    found = retention(rows, stages)
    last = len(stages.ends)
    for score, by_head in found["heads"].items():
        for head, measure in by_head.items():
            begun = stages.introduced[head[:2]]
            learned = score == "accuracy" or measure["final"] is not None
            assert (measure["forward_transfer"] is not None) == (begun > 1 and learned)
            for name in ("backward_transfer", "forgetting"):
                assert (measure[name] is not None) == (begun < last and learned)
            if measure["forgetting"] is not None:
                # The best stage is at least as good as the one that brought the task in.
                assert measure["forgetting"] >= -measure["backward_transfer"] - 1e-12
            if score == "normalised_loss" and learned:
                assert measure["final"] >= 0


@given(histories())
def test_nothing_is_forgotten_where_the_end_is_the_best(
    history: tuple[list[Measurement], Stages],
) -> None:
    rows, stages = history
    best = {head: {"loss": 0.005, "accuracy": 1.0, "labels": 1} for head in rows[0].scores}
    found = retention([*rows[:-1], Measurement(rows[-1].step, best)], stages)
    for by_head in found["heads"].values():
        for measure in by_head.values():
            assert measure["forgetting"] is None or measure["forgetting"] <= 0
            assert measure["backward_transfer"] is None or measure["backward_transfer"] >= 0
    for measure in found["heads"]["normalised_loss"].values():
        assert measure["final"] == 0


@given(histories(), st.floats(0.1, 10), st.floats(0, 5))
def test_the_scale_of_a_loss_does_not_matter(
    history: tuple[list[Measurement], Stages], scale: float, shift: float
) -> None:
    rows, stages = history
    other = [
        Measurement(
            row.step,
            {
                head: score | {"loss": scale * score["loss"] + shift}
                for head, score in row.scores.items()
            },
        )
        for row in rows
    ]
    first, second = (
        retention(found, stages)["summary"]["normalised_loss"] for found in (rows, other)
    )
    # Where a loss falls by little from its start, rounding decides.
    spans = [
        losses[0] - min(losses)
        for head in rows[0].scores
        for losses in [[row.scores[head]["loss"] for row in rows if row.step in (0, *stages.ends)]]
    ]
    if min(spans) > 0.01:
        assert second == {
            name: value if value is None else pytest.approx(value, abs=1e-5)
            for name, value in first.items()
        }


def test_the_document_names_every_measure() -> None:
    text = (Path(__file__).parents[2] / "docs" / "retention.md").read_text(encoding="utf-8")
    for name in retention([], STAGES)["summary"]["accuracy"]:
        assert f"`{name}`" in text
