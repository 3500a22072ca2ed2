"""The command line: each verb is a file here, and a file of the same name in `verbs`.

A verb exits with 0, with 2 on a mistake of the user's, with 1 on a fault, with 130 when a run was
stopped.
"""

from typing import Annotated

import typer

from ernie_cmtl import __version__
from ernie_cmtl.cli import (
    bench,
    compare,
    evaluate,
    export,
    extend,
    finetune,
    init,
    inspect,
    plan,
    predict,
    prepare,
    pretrain,
    report,
    settings,
    tasks,
    tasks_check,
    watch,
)
from ernie_cmtl.cli.shared import one_message
from ernie_cmtl.parent_process import stop_with_parent

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"ernie-cmtl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Pretrain BERT-size encoders from raw text with several tasks."""


tasks_app = typer.Typer()
tasks_app.callback(invoke_without_command=True, epilog=tasks.EXAMPLE)(one_message(tasks.tasks))
tasks_app.command("check", epilog=tasks_check.EXAMPLE)(one_message(tasks_check.tasks_check))
app.add_typer(tasks_app, name="tasks")

VERBS = (
    *(prepare, init, inspect, plan, pretrain, watch, extend, evaluate, report),
    *(finetune, predict, compare, export, bench, settings),
)
for module in VERBS:
    verb = module.__name__.rpartition(".")[2]
    app.command(epilog=module.EXAMPLE)(one_message(getattr(module, verb)))


def main() -> None:
    """Run the verb of the command line."""
    stop_with_parent()
    app()
