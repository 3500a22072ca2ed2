"""The verb report on the command line."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ernie_cmtl.cli.shared import Json, PluginModules, add_plugins, print_result

EXAMPLE = (
    "Example: ernie-cmtl report runs/quickstart/run --output report.html. Several runs share "
    "the charts."
)


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of runs, finished or training; or one folder that finetune --output or "
            "compare --output wrote.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", help="HTML file to write.")],
    figures: Annotated[
        Path | None,
        typer.Option("--figures", help="Also write each chart as SVG into this folder."),
    ] = None,
    plugin: PluginModules = None,
    as_json: Json = False,
) -> None:
    """Write an HTML report of runs, of a fine-tuning or of a comparison.

    A run's page shows warnings, learning curves, retention, speed, corpus and settings. The page
    is a single file that needs no network.
    """
    from ernie_cmtl.verbs.report import report as write

    add_plugins(plugin)
    result = write(runs, output, figures)
    print_result(result, as_json, lambda: _line(result))


def _line(result: dict[str, Any]) -> str:
    figures = f"; figures in {result['figures']}" if result["figures"] else ""
    return (
        f"wrote {result['path']}: {result['charts']} charts, {len(result['warnings'])} warnings"
        f"{figures}"
    )
