"""Tables of held-out scores and of retention."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

if TYPE_CHECKING:
    from ernie_cmtl.evaluation.heldout import HeadScore


def retention_tables(retention: Mapping[str, Any]) -> list[Table]:
    """Return the retention matrix as a table, a column for each stage; none where fewer than two
    places were measured.
    """
    matrix, measures = retention["matrix"], retention["heads"]
    if len(matrix) < 2:
        return []
    stages = (
        [f"S{number}" for number in range(1, len(matrix))]
        if matrix[0]["step"] == 0
        else [row["stage"] for row in matrix]
    )
    columns = (
        Column("task, head", no_wrap=True),
        *(["start"] if matrix[0]["step"] == 0 else []),
        *stages,
    )
    caption = "accuracy; where there is none: loss, and measures of the normalised loss"
    table = Table(
        *columns,
        "forget-\nting",
        "transfer\nback",
        title="retention",
        caption=caption,
        box=SIMPLE_HEAD,
    )
    # Narrow enough for four stages in eighty columns.
    table.padding, table.show_edge, table.pad_edge = (0, 1, 0, 0), False, False
    shown = ""
    for name in matrix[-1]["tasks"]:
        task, _, head = name.partition("/")
        if task != shown:
            table.add_row(f"[bold]{task}[/]")
            shown = task
        table.add_row(f"  {head}", *_retention_cells(name, matrix, measures))
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


def interval_text(interval: Sequence[float] | None) -> str:
    """Return a 95 % interval of a share, for people."""
    return f"[dim]({interval[0]:.1%} to {interval[1]:.1%})[/]" if interval else ""


def score_table(title: str, scores: "Mapping[str, HeadScore]") -> Table:
    """Return held-out scores as a table."""
    table = Table("task / head", "loss", "accuracy", "labels", title=title)
    for name, score in scores.items():
        accuracy = (
            "-"
            if score["accuracy"] is None
            else f"{score['accuracy']:.2%} {interval_text(score.get('interval'))}"
        )
        table.add_row(name, f"{score['loss']:.4f}", accuracy, f"{score['labels']:,}")
        for group, inner in score.get("given", {}).items():
            if inner["classes"] > 1:
                chance = f"[dim](chance {1 / inner['classes']:.2%})[/]"
                row = (
                    f"  given {group}",
                    f"{inner['loss']:.4f}",
                    f"{inner['accuracy']:.2%} {chance}",
                    f"{inner['labels']:,}",
                )
                table.add_row(*row)
    return table
