"""What the verbs share: common options, one message for a mistake, one result."""

import json
import os
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, ParamSpec

import typer
from rich.console import Console, RenderableType

from ernie_cmtl.errors import LostWorkerError, UserError

console = Console(stderr=True)
"""Progress and messages; what a verb was asked for goes to standard output."""
Parameters = ParamSpec("Parameters")

Json = Annotated[bool, typer.Option("--json", help="Print one machine-readable result on standard output.")]
TaskModules = Annotated[
    list[str] | None,
    typer.Option("--task-module", help="Python module of a task of your own, that can be imported.", show_default=False),
]


def one_message(function: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Turn a mistake of the user's into one message and exit code 2, a lost worker into one and exit code 1."""

    @wraps(function)
    def checked(*arguments: Parameters.args, **options: Parameters.kwargs) -> None:
        try:
            function(*arguments, **options)
        except UserError as error:
            console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(2) from None
        except LostWorkerError as error:
            console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(1) from None

    return checked


def print_result(result: Any, as_json: bool, shown: Callable[[], RenderableType]) -> None:
    """Print what a verb was asked for, for programs or for people; of many workers one speaks."""
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        Console().print(shown())


def add_tasks(modules: list[str] | None) -> None:
    """Register the tasks of modules for this call."""
    from ernie_cmtl.task_registry import add_task_module

    for module in modules or []:
        add_task_module(module)
