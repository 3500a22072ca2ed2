"""The verb tasks on the command line."""

from typer.testing import CliRunner

from ernie_cmtl.cli.app import app
from tests.support.command_line import TASKS, result_of, squeezed


def test_tasks_lists_every_file_of_tasks() -> None:
    rows = result_of("tasks")
    assert [row["name"] for row in rows] == TASKS
    for row in rows:
        assert {"name", "family", "layers", "heads", "languages", "citation"} <= set(row)
        assert row["family"] in ("lexical", "syntactic", "semantic")
        assert row["heads"]
        assert set(row["languages"]) <= {"en", "zh"}
    shown = squeezed(CliRunner(env={"COLUMNS": "240"}).invoke(app, ["tasks"]).stdout)
    for row in rows:
        heads = ", ".join(f"{head['name']} ({head['kind']})" for head in row["heads"])
        cells = (
            row["name"],
            row["family"],
            ", ".join(row["layers"]),
            heads,
            ", ".join(row["languages"]),
            row["citation"],
        )
        assert squeezed("".join(cells)) in shown.replace("┃", "").replace("│", "")
