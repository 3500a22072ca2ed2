"""The verb export on the command line."""

from pathlib import Path
from typing import Annotated

import typer

from ernie_cmtl.cli.shared import Json, RunFolder, TaskModules, add_tasks, print_result
from ernie_cmtl.errors import UserError

EXAMPLE = "Example: ernie-cmtl export runs/quickstart --output model"


def export(
    run: RunFolder,
    output: Annotated[Path, typer.Option("--output", help="Folder for the model.")],
    format: Annotated[str, typer.Option("--format", help="hf: transformers.")] = "hf",
    step: Annotated[
        int | None, typer.Option(help="A checkpoint's step; default: the newest.")
    ] = None,
    task_module: TaskModules = None,
    as_json: Json = False,
) -> None:
    """Write the encoder for transformers, reload it with the stock classes and compare."""
    from ernie_cmtl.verbs.export import export_run

    if format != "hf":
        raise UserError(f"unknown format {format!r}; accepted: hf")
    add_tasks(task_module)
    result = export_run(run, output, step)
    line = (
        f"exported to {result['path']}; reloaded, largest logit difference "
        f"{result['max_abs_logit_difference']:g}"
    )
    print_result(result, as_json, lambda: line)
