"""The verb report on the command line."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ernie_cmtl.cli.shared import Json, PluginModules, add_plugins, print_result

EXAMPLE = (
    "Example: ernie-cmtl report runs/quickstart/run --output report.html. Several runs are drawn "
    "over one another."
)


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of runs, also of one that trains; or one folder that finetune --output "
            "or compare --output has written.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", help="HTML file to write.")],
    figures: Annotated[
        Path | None, typer.Option("--figures", help="Write each chart as SVG into this folder too.")
    ] = None,
    plugin: PluginModules = None,
    as_json: Json = False,
) -> None:
    """Write one page of a run, a fine-tuning or a comparison: warnings, learning curves, retention,
    speed, corpus and settings; or scores with their spread.

    The page is a single file that needs no network.
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
