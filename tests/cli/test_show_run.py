"""What people see of the retention of a run."""

import io

from rich.console import Console

from ernie_cmtl.cli.show_run import retention_tables
from ernie_cmtl.evaluation.retention import Measurement, Stages, retention

STAGES = Stages(("words", "order"), (10, 20), {"masking": 1, "reordering": 2, "frequency": 1})
ROWS = [
    Measurement(0, {"masking/token": {"loss": 9.0, "accuracy": 0.0}, "frequency/count": {"loss": 4.0, "accuracy": None}}),
    Measurement(10, {"masking/token": {"loss": 3.0, "accuracy": 0.5}, "frequency/count": {"loss": 1.0, "accuracy": None}}),
    Measurement(
        20,
        {
            "masking/token": {"loss": 5.0, "accuracy": 0.375},
            "frequency/count": {"loss": 2.5, "accuracy": None},
            "reordering/order": {"loss": 1.0, "accuracy": 0.25},
        },
    ),
]


def shown(rows: list[Measurement], width: int = 120) -> list[list[str]]:
    """Return the cells of each row of the table."""
    console = Console(file=io.StringIO(), width=width)
    for table in retention_tables(retention(rows, STAGES)):
        console.print(table)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return [[cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in lines if line[:1] in ("│", "┃")]


def test_a_head_shows_its_accuracy_or_its_loss_after_each_stage_and_what_it_lost() -> None:
    assert shown(ROWS) == [
        ["task / head", "start", "words", "order", "forgetting", "backward transfer"],
        ["masking/token", "0.00%", "50.00%", "37.50%", "12.50%", "-12.50%"],
        # Of the three that the loss had fallen, half was lost again.
        ["frequency/count", "4.0000", "1.0000", "2.5000", "0.5000", "-0.5000"],
        # A head that was not there before has no score there, and nothing to forget.
        ["reordering/order", "-", "-", "25.00%", "-", "-"],
    ]


def test_names_stay_whole_on_a_narrow_terminal() -> None:
    cells = [row[0] for row in shown(ROWS, width=66)]
    assert "…" not in "".join(cells)
    assert "reordering/order" in "".join(cells)


def test_there_is_no_table_before_two_places_are_measured() -> None:
    assert shown(ROWS[:1]) == shown([]) == []
