"""The verb tasks on the command line."""

import typer
from rich.console import RenderableType

from ernie_cmtl.cli.shared import Json, PluginModules, add_plugins, print_result
from ernie_cmtl.cli.tables import Table
from ernie_cmtl.cli.terminal import styled

EXAMPLE = "Example: ernie-cmtl tasks --json. For one of them: ernie-cmtl tasks check --help"


def tasks(context: typer.Context, plugin: PluginModules = None, as_json: Json = False) -> None:
    """List the registered pretraining tasks; `tasks check` validates one."""
    from ernie_cmtl.verbs.tasks import tasks as list_tasks

    add_plugins(plugin)
    if context.invoked_subcommand:
        return
    rows = list_tasks()

    def show() -> RenderableType:
        table = Table("task", "family", "layers", "heads", "languages", "citation")
        for row in rows:
            if "error" in row:
                table.add_row(row["name"], styled(row["error"], "red"))
                continue
            heads = ", ".join(f"{head['name']} ({head['kind']})" for head in row["heads"])
            table.add_row(
                row["name"],
                row["family"],
                ", ".join(row["layers"]),
                heads,
                ", ".join(row["languages"]),
                row["citation"],
            )
        return table

    print_result(rows, as_json, show)
