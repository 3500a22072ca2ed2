"""The verb export on the command line."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ernie_cmtl.cli.shared import (
    CorpusFolder,
    Json,
    PluginModules,
    RunFolder,
    add_plugins,
    print_result,
)

EXAMPLE = "Example: ernie-cmtl export runs/quickstart/run --output runs/mine/export"


def export(
    run: RunFolder,
    output: Annotated[Path, typer.Option("--output", help="Folder for the model.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(help="Options of the format as key=value.", show_default=False),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="hf: transformers; bert: BERT's layout; sentence-transformers; onnx; or the name "
            "of a plug-in.",
        ),
    ] = "hf",
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            help="Task whose view the export holds, where its class takes no task ids; default: "
            "the first that masks tokens.",
        ),
    ] = None,
    view: Annotated[
        str | None,
        typer.Option(
            "--view",
            help="Group or task whose layers are exported, where tasks have layers of their own; "
            "mean: of softly shared ones; default: the trunk.",
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            "--head",
            metavar="TASK/HEAD",
            help="Head of a task that is exported with the encoder, as the class of transformers "
            "that scores the same.",
        ),
    ] = None,
    step: Annotated[
        int | None, typer.Option(help="A checkpoint's step; default: the newest.")
    ] = None,
    license: Annotated[
        str | None, typer.Option("--license", help="License on the card, such as apache-2.0.")
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset", help="Data set on the card, by its name on the Hub.", show_default=False
        ),
    ] = None,
    corpus: CorpusFolder = None,
    plugin: PluginModules = None,
    as_json: Json = False,
) -> None:
    """Write the encoder for other programs, reload it as they do and compare."""
    from ernie_cmtl.verbs.export import export_run

    add_plugins(plugin)
    result = export_run(
        run,
        output,
        step,
        format,
        task,
        corpus=corpus,
        view=view,
        head=head,
        settings=settings or (),
        license=license,
        datasets=dataset or (),
    )
    print_result(result, as_json, lambda: _line(result))


def _line(result: dict[str, Any]) -> str:
    """Say where the export is, and what was measured when it was read back."""
    said = ", ".join(f"{key} {value}" for key, value in result.items() if key == "pooling")
    measured = ", ".join(
        f"{name.replace('_', ' ')} {value:g}"
        for name, value in result.items()
        if isinstance(value, float)
    )
    parts = [f"exported to {result['path']}", said, measured and f"reloaded: {measured}"]
    return "; ".join(filter(None, parts))
