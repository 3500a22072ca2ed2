"""Tables of held-out scores and of retention."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from ernie_cmtl.cli.tables import Table
from ernie_cmtl.cli.terminal import styled

if TYPE_CHECKING:
    from ernie_cmtl.evaluation.heldout import HeadScore, Score


_ONE_CLASS = "one class"
"""Marks the accuracy of a model that gives one answer for all labels."""


def retention_tables(retention: Mapping[str, Any]) -> list[Table]:
    """Return the retention matrix as a table, a column for each stage; none where fewer than two
    places were measured.
    """
    matrix, measures = retention["matrix"], retention["heads"]
    if len(matrix) < 2:
        return []
    begun = matrix[0]["step"] == 0
    stages = (
        ["start", *(f"S{number}" for number in range(1, len(matrix)))]
        if begun
        else [row["stage"] for row in matrix]
    )
    table = Table(
        "task, head",
        "majority",
        *stages,
        "forgetting",
        "transfer back",
        title="retention",
        caption="accuracy; where there is none: loss, and measures of the normalised loss",
    )
    shown = ""
    for name, newest in matrix[-1]["tasks"].items():
        task, _, head = name.partition("/")
        if task != shown:
            table.add_row(styled(task, "bold"))
            shown = task
        majority = share_text(newest.get("majority"))
        table.add_row(f"  {head}", majority, *_retention_cells(name, matrix, measures))
    return [table]


def _retention_cells(
    name: str, matrix: Sequence[Mapping[str, Any]], measures: Mapping[str, Any]
) -> list[str]:
    with_accuracy = name in measures["accuracy"]
    form, value = ("{:.1%}", "accuracy") if with_accuracy else ("{:.3f}", "loss")
    found = measures["accuracy" if with_accuracy else "normalised_loss"][name]
    cells = [row["tasks"].get(name, {}).get(value) for row in matrix] + [
        found["forgetting"],
        found["backward_transfer"],
    ]
    return ["-" if cell is None else form.format(cell) for cell in cells]


def share_text(share: float | None) -> str:
    """Return a share for people; - where there is none."""
    return "-" if share is None else f"{share:.1%}"


def with_interval(value: str, interval: Sequence[float] | None) -> Text:
    """Return a share with its 95 % interval."""
    shown = styled(value)
    return shown.append(f" ({interval[0]:.1%} to {interval[1]:.1%})", "dim") if interval else shown


def score_table(title: str, scores: "Mapping[str, HeadScore]") -> Table:
    """Return held-out scores as a table; majority: what the same answer for all would reach."""
    table = Table("task / head", "loss", "accuracy", "majority", "labels", title=title)
    for name, score in scores.items():
        table.add_row(name, *_score_cells(score))
        for group, inner in score.get("given", {}).items():
            if inner["classes"] > 1:
                loss, accuracy, majority, labels = _score_cells(inner)
                chance = styled(f" (chance {1 / inner['classes']:.1%})", "dim")
                table.add_row(f"  given {group}", loss, accuracy + chance, majority, labels)
    return table


def _score_cells(score: "Score | HeadScore") -> tuple[str, Text, str, str]:
    """Return loss, accuracy, majority and labels."""
    accuracy = score["accuracy"]
    shown = (
        styled("-") if accuracy is None else with_interval(f"{accuracy:.2%}", score.get("interval"))
    )
    if score.get("one_class"):
        shown.append(f" {_ONE_CLASS}", "yellow")
    majority = share_text(score.get("majority"))
    return f"{score['loss']:.4f}", shown, majority, f"{score['labels']:,}"
