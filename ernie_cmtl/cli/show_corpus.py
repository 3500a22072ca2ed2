"""What people see of a corpus while it is built and when it is done."""

from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ernie_cmtl.corpus.build.progress import Progress as BuildProgress

LEAST_SHARE = 0.001
"""Scripts of fewer letters of a source are left out."""


def progress_bar(console: Console) -> Progress:
    """Return a progress bar that says what it counts."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console)


class BuildBar:
    """Progress of prepare: one bar a stage, with documents/s and MB/s."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stage, self._bar = "", TaskID(0)

    def __call__(self, news: BuildProgress) -> None:
        """Show how far a stage is."""
        if news.stage != self._stage:
            self._finish()
            self._stage = news.stage
            self._bar = self._progress.add_task(news.stage, total=news.total or None, rate="")
        seconds = self._progress.tasks[self._bar].elapsed or 0
        if news.done and seconds:
            rate = f"{news.documents / seconds:,.0f} documents/s  {news.done / seconds / 1e6:.1f} MB/s"
            self._progress.update(self._bar, completed=news.done, total=news.total, rate=rate)

    def _finish(self) -> None:
        if self._stage:
            self._progress.update(self._bar, total=1, completed=1)
            self._progress.stop_task(self._bar)


def corpus_table(result: dict[str, Any]) -> RenderableType:
    """Return what was built as a table, with the warnings below it."""
    table = Table("", "", title=f"corpus {result['corpus']}", show_header=False)
    documents = result["documents"]
    table.add_row("documents", ", ".join(f"{name} {count:,}" for name, count in documents.items()))
    if result["rejections"]:
        table.add_row("rejected", ", ".join(f"{reason} {count:,}" for reason, count in result["rejections"].items()))
    for name in ("sentences", "tokens", "bytes", "vocabulary_size"):
        table.add_row(name.replace("_", " "), f"{result[name]:,}")
    for name, source in result["sources"].items():
        mixture = "" if source["mixture"] is None else f", mixture {source['mixture']:.2%}"
        written = "".join(f", {script} {share:.1%}" for script, share in source["scripts"].items() if share >= LEAST_SHARE)
        unknown = "" if source["unknown_rate"] is None else f", unknown {source['unknown_rate']:.2%}"
        counts = f"documents {source['documents']:,}, tokens {source['tokens']:,}"
        table.add_row(f"source {name}", f"{counts}{unknown}{written}{mixture}")
    table.add_row("layers", ", ".join(result["layers"]))
    for name, labelled in result["labelled"].items():
        counts = ", ".join(f"{key} {count:,}" for key, count in labelled["rows"].items())
        columns = ", ".join(f"{key} {kind}" for key, kind in labelled["columns"].items())
        table.add_row(f"labelled {name}", f"{counts}; {columns}")
    table.add_row("seconds", ", ".join(f"{name} {value:.1f}" for name, value in result["seconds_by_stage"].items()))
    table.add_row("fingerprint", result["fingerprint"])
    return Group(table, *(Text(warning, style="yellow") for warning in result["warnings"]))
