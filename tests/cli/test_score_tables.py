"""What people see of the retention of a run."""

import io

from ernie_cmtl.cli.score_tables import retention_tables, score_table
from ernie_cmtl.cli.terminal import Terminal
from ernie_cmtl.evaluation.heldout import HeadScore
from ernie_cmtl.evaluation.retention import Measurement, Stages, retention

STAGES = Stages(("words", "order"), (10, 20), {"masking": 1, "reordering": 2, "frequency": 1})
ROWS = [
    Measurement(
        0,
        {
            "masking/token": {"loss": 9.0, "accuracy": 0.0},
            "frequency/count": {"loss": 4.0, "accuracy": None},
        },
    ),
    Measurement(
        10,
        {
            "masking/token": {"loss": 3.0, "accuracy": 0.5},
            "frequency/count": {"loss": 1.0, "accuracy": None},
        },
    ),
    Measurement(
        20,
        {
            "masking/token": {"loss": 5.0, "accuracy": 0.375, "majority": 0.2},
            "frequency/count": {"loss": 2.5, "accuracy": None},
            "reordering/order": {"loss": 1.0, "accuracy": 0.25},
        },
    ),
]


def shown(rows: list[Measurement], width: int = 120) -> list[list[str]]:
    """Return the cells of each row of the table."""
    console = Terminal(file=io.StringIO(), width=width)
    for table in retention_tables(retention(rows, STAGES)):
        console.show(table)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return [line.split() for line in lines if line.strip() and "─" not in line]


def test_a_head_shows_its_accuracy_or_its_loss_after_each_stage_and_what_it_lost() -> None:
    assert [
        row
        for row in shown(ROWS)
        if row[0] in ("task,", "masking", "token", "frequency", "count", "reordering", "order")
    ] == [
        ["task,", "head", "majority", "start", "S1", "S2", "forgetting", "transfer", "back"],
        ["masking"],
        ["token", "20.0%", "0.0%", "50.0%", "37.5%", "12.5%", "-12.5%"],
        ["frequency"],
        # Of the three that the loss had fallen, half was lost again.
        ["count", "-", "4.000", "1.000", "2.500", "0.500", "-0.500"],
        ["reordering"],
        # A head that was not there before has no score there, and nothing to forget.
        ["order", "-", "-", "-", "25.0%", "-", "-"],
    ]


def test_four_stages_fit_into_eighty_columns() -> None:
    names = ("knowledge_masking/masked_token", "token_document_relation/elsewhere")
    rows = [
        Measurement(step, {name: {"loss": 1.0, "accuracy": 0.5} for name in names})
        for step in (0, 10, 20, 30, 40)
    ]
    stages = Stages(
        ("a", "b", "c", "d"),
        (10, 20, 30, 40),
        {"knowledge_masking": 1, "token_document_relation": 1},
    )
    console = Terminal(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    console.show(*retention_tables(retention(rows, stages)))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("50.0%") == 10


def test_there_is_no_table_before_two_places_are_measured() -> None:
    assert shown(ROWS[:1]) == shown([]) == []


def test_scores_stand_beside_the_majority_and_say_when_only_one_class_is_answered() -> None:
    score: HeadScore = {"loss": 0.6, "accuracy": 0.857, "labels": 70, "majority": 0.857}
    both = {"a/x": score, "b/y": score | {"one_class": True}}
    console = Terminal(file=io.StringIO(), width=80)
    console.show(score_table("held out", both))  # type: ignore[arg-type]
    _, _, first, second = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert first.split() == ["a/x", "0.6000", "85.70%", "85.7%", "70"]
    assert second.split() == ["b/y", "0.6000", "85.70%", "one", "class", "85.7%", "70"]
