"""The verb extend on the command line."""

import os
from typing import Annotated

import typer

from ernie_cmtl.cli.shared import (
    CorpusFolder,
    Json,
    PluginModules,
    RunFolder,
    add_plugins,
    print_result,
)
from ernie_cmtl.cli.terminal import console

EXAMPLE = "Example: ernie-cmtl extend runs/quickstart/run --task sentence_order --budget 40"


def extend(
    run: RunFolder,
    task: Annotated[str, typer.Option("--task", help="Name of the new task in the run.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="Options of the task as key=value, settings of the run as key.sub=value.",
            show_default=False,
        ),
    ] = None,
    type: Annotated[
        str | None, typer.Option("--type", help="Registered task, if it has another name.")
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(help="Iterations of the new task; default: the largest total of an old task."),
    ] = None,
    review: Annotated[
        float | None,
        typer.Option(
            help="Share of its total that each old task reviews; default: 1/(old tasks + 2)."
        ),
    ] = None,
    stage_name: Annotated[
        str | None, typer.Option(help="Name of the new stage; default: the task's name.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the stage table without training.")
    ] = False,
    corpus: CorpusFolder = None,
    plugin: PluginModules = None,
    as_json: Json = False,
) -> None:
    """Add a task to a finished run and train it in a new stage."""
    from ernie_cmtl.cli.plan import plan_table
    from ernie_cmtl.cli.training_view import train
    from ernie_cmtl.verbs.extend import Extension, extended_config
    from ernie_cmtl.verbs.plan import plan as describe_plan

    add_plugins(plugin)
    extension = Extension(task, type, budget, review, stage_name, words or [])
    settings = extended_config(run, extension, corpus)
    plan = describe_plan(settings, workers=1, gpus=1, peak_tflops=None, mfu=None)
    if dry_run:
        print_result({"run": str(run), "plan": plan}, as_json, lambda: plan_table(plan))
        return
    # Of many workers one speaks.
    if os.environ.get("RANK", "0") == "0":
        console.show(plan_table(plan))
    train(settings, as_json, {"plan": plan})
