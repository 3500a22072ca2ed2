"""The verb settings on the command line."""

from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from ernie_cmtl.cli.shared import Json, PluginModules, add_plugins, print_result
from ernie_cmtl.cli.tables import Table

EXAMPLE = "Example: ernie-cmtl settings optimizer"


def settings(
    prefix: Annotated[
        str,
        typer.Argument(help="Show only settings whose name begins with this.", show_default=False),
    ] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print as a Markdown page.")] = False,
    plugin: PluginModules = None,
    as_json: Json = False,
) -> None:
    """List every setting with its type, default and meaning."""
    from ernie_cmtl.verbs.settings import settings as find
    from ernie_cmtl.verbs.settings import settings_page

    add_plugins(plugin)
    found = find(prefix)
    print_result(found, as_json, lambda: settings_page(found) if markdown else _tables(found))


def _tables(found: dict[str, list[dict[str, Any]]]) -> RenderableType:
    tables = []
    for part, listed in found.items():
        table = Table("setting", "type", "default", "meaning", title=part)
        for one in listed:
            table.add_row(one["name"], one["kind"], one["default"], one["meaning"])
        tables.append(table)
    return Group(*tables)
