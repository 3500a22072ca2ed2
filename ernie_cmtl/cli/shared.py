"""What the verbs share on the command line: common arguments, one message for a mistake, one
result.
"""

import os
import sys
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer
from rich.console import RenderableType

from ernie_cmtl.atomic_files import file_problems_told
from ernie_cmtl.cli.terminal import Terminal, console, show_warnings
from ernie_cmtl.errors import LostWorkerError, UserError
from ernie_cmtl.printable import json_line, printable

# What a verb needs is imported inside it: help and mistakes answer at once, and prepare stays
# without torch.

Parameters = ParamSpec("Parameters")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON result on standard output.")]
PluginModules = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        "--task-module",
        help="Importable Python module with your own task, encoder architecture, head kind, "
        "loss weighting or export format.",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Settings as key.sub=value.", show_default=False)
]
TaskOptions = Annotated[
    list[str] | None, typer.Argument(help="Options of the task as key=value.", show_default=False)
]
CorpusFolder = Annotated[
    Path | None,
    typer.Option(
        "--corpus",
        help="Use this corpus instead of the configured one, for example if it has moved.",
    ),
]
ConfigFile = Annotated[Path, typer.Argument(help="YAML file of a run.", show_default=False)]
RunFolder = Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)]


def one_message(function: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Turn a mistake of the user's, and what a file system refuses, into one message and exit code
    2, a lost worker into one and exit code 1.
    """

    @wraps(function)
    def checked(*arguments: Parameters.args, **options: Parameters.kwargs) -> None:
        show_warnings()
        try:
            with file_problems_told():
                function(*arguments, **options)
        except UserError as error:
            console.say(f"error: {error}", "red")
            raise typer.Exit(2) from None
        except UnicodeEncodeError as error:
            # Libraries and YAML take names of bytes that are not UTF-8 in no other way.
            console.say(
                f"error: {error.object} holds bytes that are not UTF-8, which cannot be used in "
                "this place; rename the file or folder",
                "red",
            )
            raise typer.Exit(2) from None
        except LostWorkerError as error:
            console.say(str(error), "red")
            raise typer.Exit(1) from None

    return checked


def print_lines(lines: Iterable[str]) -> None:
    """Print lines of a result one after the other, tabs as they are; a reader that has seen enough
    ends the verb without a message.
    """
    encoding = sys.stdout.encoding or "utf-8"
    try:
        for line in lines:
            shown = printable(line, keep="\t")
            print(shown.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter would complain when it closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit from None


def print_result(result: Any, as_json: bool, shown: Callable[[], RenderableType]) -> None:
    """Print what a verb was asked for, for programs or for people; of many workers one speaks."""
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        encoding = (sys.stdout.encoding or "").lower()
        print(json_line(result, ascii_only=not encoding.startswith("utf")))
    else:
        Terminal().show(shown())


def add_plugins(modules: list[str] | None) -> None:
    """Register what modules add, for this call."""
    for module in modules or []:
        from ernie_cmtl.verbs.plugins import add_plugin

        add_plugin(module)


def with_corpus(overrides: list[str] | None, corpus: Path | None) -> list[str]:
    """Return overrides of a run's settings, with the corpus that an option names."""
    return [*(overrides or []), *([f"corpus={corpus}"] if corpus else [])]
