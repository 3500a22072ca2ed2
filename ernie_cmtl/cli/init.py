"""The verb init on the command line."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ernie_cmtl.cli.shared import Json, print_result
from ernie_cmtl.errors import UserError

EXAMPLE = "Example: ernie-cmtl init mine.yaml --corpus runs/quickstart/corpus"


def init(
    file: Annotated[
        Path | None, typer.Argument(help="YAML file to write.", show_default=False)
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option("--corpus", help="Folder of the corpus to train on.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--from", help="Copy this shipped configuration or recipe.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size", help="tiny, small, medium or base; default: chosen by the size of the corpus."
        ),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(
            "--tokens", min=1, help="Training tokens; default: chosen by the size of the encoder."
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Folder of the run; default: runs/NAME, with the file's name."),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="List the shipped configurations.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a commented configuration that fits a corpus, or copy a shipped one."""
    if listed:
        from ernie_cmtl.shipped_configs import shipped_configs

        names = list(shipped_configs())
        print_result(names, as_json, lambda: "\n".join(names))
        return
    if file is None:
        raise UserError("name the FILE to write, as mine.yaml; or --list to see what there is")
    from ernie_cmtl.verbs.init import init as write

    result = write(file, corpus, source, size, tokens, run)
    print_result(result, as_json, lambda: _line(result))


def _line(result: dict[str, Any]) -> str:
    if "steps" not in result:
        return f"wrote {result['path']}; next: ernie-cmtl finetune MODEL --task {result['path']}"
    return (
        f"wrote {result['path']}: {result['steps']:,} steps of {', '.join(result['tasks'])}; next: "
        f"ernie-cmtl plan {result['path']}"
    )
