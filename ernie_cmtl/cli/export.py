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
from ernie_cmtl.errors import UserError

EXAMPLE = "Example: ernie-cmtl export runs/quickstart/run --output runs/mine/export"


def export(
    run: RunFolder,
    output: Annotated[Path, typer.Option("--output", help="Folder for the exported model.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(help="Options of the format as key=value.", show_default=False),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="hf (transformers), bert (BERT's layout), sentence-transformers, onnx, or the "
            "name of a plug-in.",
        ),
    ] = "hf",
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            help="Task whose view is exported, if the exported class takes no task ids; default: "
            "the first task that masks tokens.",
        ),
    ] = None,
    view: Annotated[
        str | None,
        typer.Option(
            "--view",
            help="Group or task whose own layers are exported; mean: the average of softly "
            "shared layers; default: the trunk.",
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            "--head",
            metavar="TASK/HEAD",
            help="Also export this trained head, as the transformers class that gives the same "
            "scores.",
        ),
    ] = None,
    step: Annotated[
        int | None, typer.Option(help="Step of the checkpoint; default: the newest.")
    ] = None,
    license: Annotated[
        str | None, typer.Option("--license", help="License on the model card, such as apache-2.0.")
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset",
            help="Dataset on the model card, by its name on the Hub.",
            show_default=False,
        ),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(
            "--push",
            metavar="ORG/NAME",
            help="Also upload the export to the Hugging Face Hub, in one commit; set the token "
            "in the variable HF_TOKEN.",
        ),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Make the repository of --push private.")
    ] = False,
    corpus: CorpusFolder = None,
    plugin: PluginModules = None,
    as_json: Json = False,
) -> None:
    """Export the encoder, reload it with stock classes and compare the outputs."""
    from ernie_cmtl.export.push import HubPlace
    from ernie_cmtl.verbs.export import export_run

    if private and push is None:
        raise UserError("--private is of --push ORG/NAME; name the repository, or leave it out")
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
        hub=None if push is None else HubPlace(push, private),
    )
    print_result(result, as_json, lambda: _line(result))


def _line(result: dict[str, Any]) -> str:
    """Say where the export is, and what was measured when it was read back."""
    said = f"pooling {result['pooling']}" if "pooling" in result else ""
    pushed = f"pushed: {result['pushed']}" if "pushed" in result else ""
    measured = ", ".join(
        f"{name.replace('_', ' ')} {value:g}"
        for name, value in result.items()
        if isinstance(value, float)
    )
    parts = [f"exported to {result['path']}", said, measured and f"reloaded: {measured}", pushed]
    return "; ".join(filter(None, parts))
