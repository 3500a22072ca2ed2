"""Progress as people know it: how much of how much, how fast, the time so far and the time left."""

from collections.abc import Callable
from datetime import timedelta

from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.table import Column
from rich.text import Text

from ernie_cmtl.cli.terminal import Terminal, styled


def progress_bar(terminal: Terminal) -> Progress:
    """Return bars that move on a terminal; a pipe gets none, whoever shows one there says lines.

    Tasks have the fields `count`, what is done of what, and `rate`.
    """
    return Progress(
        _Words(lambda task: task.description),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        _Words(lambda task: str(task.fields["count"])),
        _Words(lambda task: str(task.fields["rate"])),
        _Words(lambda task: times(task.elapsed, task.time_remaining)),
        console=terminal,
        expand=True,
        disable=not terminal.is_terminal,
    )


class _Words(ProgressColumn):
    """Words beside a bar, broken between them where there is no room."""

    def __init__(self, words: Callable[[Task], str]) -> None:
        super().__init__(table_column=Column())
        self._words = words

    def render(self, task: Task) -> Text:
        """Return what is said of a task."""
        return styled(self._words(task))


def times(elapsed: float | None, left: float | None) -> str:
    """Return seconds that have passed and seconds that are left, for people."""
    return f"{clock(elapsed or 0)}, {'-' if left is None else clock(left)} left"


def clock(seconds: float) -> str:
    """Return seconds as h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))
