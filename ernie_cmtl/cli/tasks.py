"""The verb tasks: what there is, and whether one of them is sound."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from ernie_cmtl.cli.calls import Json, TaskModules, add_tasks, one_message, print_result

tasks_app = typer.Typer()
FAILED = 1
EXAMPLES = "Example: ernie-cmtl tasks --json. For one of them: ernie-cmtl tasks check --help"


@tasks_app.callback(invoke_without_command=True, epilog=EXAMPLES)
@one_message
def tasks(context: typer.Context, task_module: TaskModules = None, as_json: Json = False) -> None:
    """List the registered pretraining tasks; `tasks check` looks for faults and leaks in one."""
    from ernie_cmtl.task_registry import describe_tasks

    add_tasks(task_module)
    if context.invoked_subcommand:
        return
    rows = describe_tasks()

    def show() -> RenderableType:
        table = Table("task", "family", "layers", "heads", "languages", "source")
        for row in rows:
            if "error" in row:
                table.add_row(row["name"], f"[red]{escape(row['error'])}[/]")
                continue
            heads = ", ".join(f"{head['name']} ({head['kind']})" for head in row["heads"])
            table.add_row(row["name"], row["family"], ", ".join(row["layers"]), heads, ", ".join(row["languages"]), row["source"])
        return table

    print_result(rows, as_json, show)


@tasks_app.command(
    epilog="Example: ernie-cmtl tasks check sentence_reordering --corpus corpus --length 128 segments=4. "
    "Exit code 0: passed; 1: failed."
)
@one_message
def check(
    task: Annotated[str, typer.Argument(help="Name of a task.", show_default=False)],
    corpus: Annotated[Path, typer.Option(help="Folder of a corpus.")],
    options: Annotated[list[str] | None, typer.Argument(help="Options of the task as key=value.", show_default=False)] = None,
    length: Annotated[int, typer.Option(min=16, help="Row length.")] = 512,
    samples: Annotated[int, typer.Option(min=2, help="Training samples; half as many are held out.")] = 4000,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other samples.")] = 1,
    task_module: TaskModules = None,
    as_json: Json = False,
) -> None:
    """Does a task keep its contract, are its labels spread, and do cheap baselines fail on it?"""
    from ernie_cmtl.cli.show_check import check_view
    from ernie_cmtl.config import TaskConfig
    from ernie_cmtl.corpus.store.corpus import Corpus
    from ernie_cmtl.run.check import check as check_task
    from ernie_cmtl.settings import validate

    add_tasks(task_module)
    settings = validate(TaskConfig, {}, options or [], task)
    result = check_task(Corpus(corpus), task, settings, length, samples, seed)
    print_result(result, as_json, lambda: check_view(result))
    if not result["passed"]:
        raise typer.Exit(FAILED)
