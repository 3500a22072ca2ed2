"""Progress as people know it: how much of how much, how fast, the time so far and the time left."""

from datetime import timedelta

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from ernie_cmtl.cli.terminal import Terminal


def progress_bar(terminal: Terminal) -> Progress:
    """Return bars that move on a terminal; a pipe gets none, whoever shows one there says lines.

    Tasks have the fields `count`, what is done of what, and `rate`.
    """
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        *(TextColumn(f"{{task.fields[{name}]}}", markup=False) for name in ("count", "rate")),
        _Times(table_column=Column()),
        console=terminal,
        disable=not terminal.is_terminal,
    )


class _Times(ProgressColumn):
    """How long it took so far, and how long it will take."""

    def render(self, task: Task) -> Text:
        """Return both with their names."""
        return Text(times(task.elapsed, task.time_remaining))


def times(elapsed: float | None, left: float | None) -> str:
    """Return seconds that have passed and seconds that are left, for people."""
    return f"{clock(elapsed or 0)}, {'-' if left is None else clock(left)} left"


def clock(seconds: float) -> str:
    """Return seconds as h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))
