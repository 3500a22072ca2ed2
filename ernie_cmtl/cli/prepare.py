"""The verb prepare on the command line."""

import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.progress import Progress, TaskID

from ernie_cmtl.cli.progress import clock, progress_bar, times
from ernie_cmtl.cli.shared import Json, print_result
from ernie_cmtl.cli.tables import Table
from ernie_cmtl.cli.terminal import Terminal, console, styled
from ernie_cmtl.corpus.build.progress import Progress as BuildProgress

EXAMPLE = (
    "Example: ernie-cmtl prepare --input runs/quickstart/text --output runs/mine/corpus "
    "--language en. Several sources: --input wiki=articles.parquet books=novels/"
)
_SECONDS_BETWEEN_LINES = 30.0
"""In a pipe, of a stage that takes long."""
LEAST_SHARE = 0.001
"""Scripts of fewer letters of a source are left out."""


def prepare(
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder for a new corpus.")
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option("--corpus", help="Add to this corpus: text, layers, labelled rows."),
    ] = None,
    language: Annotated[
        str | None, typer.Option("--language", help="Language of a new corpus: en or zh.")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="PATH or SOURCE=PATH: a file, folder, glob or datasets:NAME."),
    ] = None,
    more: Annotated[
        list[str] | None,
        typer.Argument(help="More inputs, and settings as key.sub=value.", show_default=False),
    ] = None,
    layers: Annotated[
        list[str] | None, typer.Option("--layers", help="Layers; default: those of the language.")
    ] = None,
    labelled: Annotated[
        list[str] | None,
        typer.Option("--labelled", help="NAME=PATH: labelled rows, with or without running text."),
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Fast tokenizer of transformers; default: train one.")
    ] = None,
    vocabulary_size: Annotated[
        int | None, typer.Option(help="Size of the trained vocabulary; default: 30,522.")
    ] = None,
    documents: Annotated[
        str | None,
        typer.Option(help="How .txt is split into documents: file (default) or blank_line."),
    ] = None,
    layer_module: Annotated[
        list[str] | None, typer.Option(help="Python module of your own layer.")
    ] = None,
    processes: Annotated[
        int, typer.Option(min=0, help="Number of worker processes; 0: one per core.")
    ] = 0,
    restart: Annotated[
        bool, typer.Option("--restart", help="Discard an unfinished build in the folder.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make an annotated corpus from raw text, or add to one; resume an interrupted build."""
    from ernie_cmtl.corpus.layers import add_layer_module
    from ernie_cmtl.verbs.prepare import PrepareArguments
    from ernie_cmtl.verbs.prepare import prepare as build

    for module in layer_module or []:
        add_layer_module(module)
    flags = {
        "tokenizer.name_or_path": tokenizer,
        "tokenizer.vocabulary_size": vocabulary_size,
        "reader.text_documents": documents,
    }
    words = [*(inputs or []), *(more or [])]
    arguments = PrepareArguments(
        output, corpus, language, words, layers or [], labelled or [], flags
    )
    with progress_bar(console) as progress:
        bar = BuildBar(console, progress)
        result = build(arguments, processes or os.cpu_count() or 1, bar, restart)
        bar.finish()
    print_result(result, as_json, lambda: corpus_table(result))


def _encodings(encodings: dict[str, str]) -> str:
    """Name the files of each encoding, the first few where there are many."""
    from ernie_cmtl.corpus.read.rows import some

    files: dict[str, list[str]] = {}
    for file, name in encodings.items():
        files.setdefault(name, []).append(Path(file).name)
    return "; ".join(
        f"{name}: {len(found)} {'file' if len(found) == 1 else 'files'} ({some(found)})"
        for name, found in sorted(files.items())
    )


class BuildBar:
    """Progress of prepare: a bar for each stage; in a pipe, lines."""

    def __init__(self, terminal: Terminal, progress: Progress) -> None:
        self._terminal, self._progress = terminal, progress
        self._news: BuildProgress | None = None
        self._bar = TaskID(0)
        self._began = self._said = 0.0

    def __call__(self, news: BuildProgress) -> None:
        """Show how far a stage is."""
        if not self._news or news.stage != self._news.stage:
            self.finish()
            self._began = self._said = time.monotonic()
            self._bar = self._progress.add_task(
                news.stage, total=news.total or None, count="", rate=""
            )
        self._news = news
        if news.done:
            count, rate = _count(news), _rate(news, time.monotonic() - self._began)
            self._progress.update(
                self._bar, completed=news.done, total=news.total, count=count, rate=rate
            )
            if time.monotonic() - self._said > _SECONDS_BETWEEN_LINES:
                self._say(news)

    def finish(self) -> None:
        """End a stage."""
        if self._news:
            self._progress.update(self._bar, total=1, completed=1)
            self._progress.stop_task(self._bar)
            self._say(None)

    def _say(self, running: BuildProgress | None) -> None:
        """Say a line where there is no bar; running: how far the stage is, None at its end."""
        news, seconds = running or self._news, time.monotonic() - self._began
        self._said = time.monotonic()
        if self._terminal.is_terminal or not news:
            return
        left = seconds * (news.total / news.done - 1) if running and news.total else 0.0
        passed = times(seconds, left) if running else clock(seconds)
        counted = f"{_count(news)}, {_rate(news, seconds)}, " if news.done else ""
        self._terminal.say(f"{news.stage}: {counted}{passed}")


def _count(news: BuildProgress) -> str:
    return f"{news.done / 1e6:,.1f} of {max(news.total, news.done) / 1e6:,.1f} MB"


def _rate(news: BuildProgress, seconds: float) -> str:
    seconds = max(seconds, 1e-3)
    documents = f"{news.documents / seconds:,.0f} documents/s  " if news.documents else ""
    return f"{documents}{news.done / seconds / 1e6:.1f} MB/s"


def corpus_table(result: dict[str, Any]) -> RenderableType:
    """Return what was built as a table, with the warnings below it."""
    from ernie_cmtl.corpus.read.inputs import describe_skipped

    table = Table("", "", title=f"corpus {result['corpus']}")
    documents = result["documents"]
    table.add_row("documents", ", ".join(f"{name} {count:,}" for name, count in documents.items()))
    if result["rejections"]:
        table.add_row(
            "rejected",
            ", ".join(f"{reason} {count:,}" for reason, count in result["rejections"].items()),
        )
    if skipped := describe_skipped(result["skipped"]):
        table.add_row("skipped", skipped)
    if result["encodings"]:
        table.add_row("not UTF-8", _encodings(result["encodings"]))
    for name in ("sentences", "tokens", "bytes", "vocabulary_size"):
        table.add_row(name.replace("_", " "), f"{result[name]:,}")
    for name, source in result["sources"].items():
        mixture = "" if source["mixture"] is None else f", mixture {source['mixture']:.2%}"
        written = "".join(
            f", {script} {share:.1%}"
            for script, share in source["scripts"].items()
            if share >= LEAST_SHARE
        )
        unknown = (
            "" if source["unknown_rate"] is None else f", unknown {source['unknown_rate']:.2%}"
        )
        counts = f"documents {source['documents']:,}, tokens {source['tokens']:,}"
        table.add_row(f"source {name}", f"{counts}{unknown}{written}{mixture}")
    table.add_row("layers", ", ".join(result["layers"]))
    for name, labelled in result["labelled"].items():
        counts = ", ".join(f"{key} {count:,}" for key, count in labelled["rows"].items())
        columns = ", ".join(f"{key} {kind}" for key, kind in labelled["columns"].items())
        table.add_row(f"labelled {name}", f"{counts}; {columns}")
    table.add_row(
        "seconds",
        ", ".join(f"{name} {value:.1f}" for name, value in result["seconds_by_stage"].items()),
    )
    table.add_row("fingerprint", result["fingerprint"])
    return Group(table, *(styled(warning, "yellow") for warning in result["warnings"]))
