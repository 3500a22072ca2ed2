"""The verb predict on the command line."""

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ernie_cmtl.atomic_files import new_file
from ernie_cmtl.cli.progress import progress_bar, times
from ernie_cmtl.cli.shared import CorpusFolder, Json, print_lines, print_result
from ernie_cmtl.cli.terminal import Terminal, console
from ernie_cmtl.errors import UserError, choices

if TYPE_CHECKING:
    from ernie_cmtl.prediction.lines import LineFormat
    from ernie_cmtl.prediction.predictor import Answer

EXAMPLE = (
    "Example: ernie-cmtl predict runs/quickstart/export --input runs/quickstart/text/text.jsonl "
    "--output vectors.jsonl"
)
_ROLES = {"text": "text", "pair": "text_pair", "text_pair": "text_pair", "group": "group"}
_SECONDS_BETWEEN_LINES = 10.0


def predict(
    model: Annotated[
        str,
        typer.Argument(
            help="A model that finetune kept, an export, a run, or a transformers model.",
            show_default=False,
        ),
    ],
    input: Annotated[
        Path,
        typer.Option(
            "--input", help="Rows: .tsv, .csv, .jsonl, .parquet, or .txt with one text per line."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", help="File for the answers; default: standard output."),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format", help="jsonl or tsv; default: by the ending of --output, otherwise jsonl."
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--columns",
            help="Columns to read, as text=NAME,pair=NAME,group=NAME; default: the recipe's.",
        ),
    ] = None,
    step: Annotated[
        int | None, typer.Option(help="Step of a run's checkpoint; default: the newest.")
    ] = None,
    corpus: CorpusFolder = None,
    as_json: Json = False,
) -> None:
    """Predict each row of a file: classes, word labels, scores, answers or embeddings."""
    from ernie_cmtl.prediction.lines import answer_lines
    from ernie_cmtl.verbs.predict import predict as answer

    form, named = _form(format, output), _columns(columns)
    if output and output.exists() and input.exists() and output.samefile(input):
        raise UserError(f"--output {output} is the input; name another file")
    found: list[Answer] = []
    with Counter(console, shown=output is not None or as_json) as counter:

        def receive(answers: "Iterator[Answer]") -> None:
            if output:
                _write(output, answers, form)
            elif as_json:
                found.extend(answers)
            else:
                print_lines(answer_lines(answers, form))

        result = answer(model, input, named, receive, counter.count, step, corpus)
    if output:
        result |= {"output": str(output), "format": form}
        print_result(result, as_json, lambda: f"{result['rows']:,} rows answered in {output}")
    elif as_json:
        print_result(result | {"answers": found}, True, str)


def _form(given: str | None, output: Path | None) -> "LineFormat":
    if given not in (None, "jsonl", "tsv"):
        raise UserError(f"--format {given!r} is unknown; {choices(given, ('jsonl', 'tsv'))}")
    is_tsv = given == "tsv" if given else output is not None and output.suffix.lower() == ".tsv"
    return "tsv" if is_tsv else "jsonl"


def _columns(given: list[str] | None) -> dict[str, str]:
    """Return role -> name of a column."""
    found = {}
    for item in (part for one in given or () for part in one.split(",")):
        role, equals, name = item.partition("=")
        if role not in _ROLES or not equals or not name:
            raise UserError(
                f"--columns {item!r} is not of the form ROLE=NAME; roles are text, pair, group"
            )
        found[_ROLES[role]] = name
    return found


def _write(path: Path, answers: "Iterable[Answer]", form: "LineFormat") -> None:
    from ernie_cmtl.prediction.lines import answer_lines

    with new_file(path) as stream:
        for line in answer_lines(answers, form):
            stream.write(f"{line}\n".encode())


class Counter:
    """Says how many rows are answered: by a bar on a terminal, by lines in a pipe."""

    def __init__(self, terminal: Terminal, shown: bool) -> None:
        """shown: draw a bar; where answers go to the same terminal it would lie between them."""
        self._terminal = terminal
        self._bar = progress_bar(terminal)
        self._bar.disable |= not shown and sys.stdout.isatty()
        self._began = self._said = time.monotonic()

    def __enter__(self) -> "Counter":
        self._bar.start()
        self._task = self._bar.add_task("predict", total=None, count="", rate="")
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.stop()

    def count(self, done: int, total: int) -> None:
        """Show how many rows are answered."""
        seconds = max(1e-3, time.monotonic() - self._began)
        count, rate = f"{done:,} of {total:,} rows", f"{done / seconds:,.0f} rows/s"
        self._bar.update(self._task, completed=done, total=total, count=count, rate=rate)
        if self._terminal.is_terminal or time.monotonic() - self._said < _SECONDS_BETWEEN_LINES:
            return
        self._said = time.monotonic()
        self._terminal.say(f"{count}, {rate}, {times(seconds, seconds * (total / done - 1))}")
