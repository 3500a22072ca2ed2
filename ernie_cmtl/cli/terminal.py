"""The one door to the terminal: it shows all text as text, whoever wrote it."""

import logging
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from ernie_cmtl.printable import printable


class Terminal(Console):
    """A console that obeys no markup, names of emoji or control characters in what it is given."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def say(self, message: str, style: str | None = None) -> None:
        """Print a message on one line; where it is too long the terminal breaks it."""
        super().print(styled(message, style), soft_wrap=True)

    def show(self, *shown: RenderableType) -> None:
        """Print results: text is broken between words on a terminal, and nowhere in a pipe."""
        for one in shown:
            wraps = self.is_terminal and not isinstance(one, str)
            super().print(one, crop=False, soft_wrap=not wraps)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield what is printed, without a character that the terminal would obey."""
        for segment in super().render(renderable, options):
            # What moves the cursor under a bar is rich's own.
            yield segment if segment.control else Segment(self._text(segment.text), segment.style)

    def _text(self, text: str) -> str:
        shown = printable(text, keep="\n")
        return shown.encode(self.encoding, "backslashreplace").decode(self.encoding)


def styled(text: str, style: str | None = None) -> Text:
    """Return text of any origin in a style of ours."""
    return Text(printable(text), style or "")


console = Terminal(stderr=True)
"""Progress and messages; what a verb was asked for goes to standard output."""


class _Messages(logging.Handler):
    """Prints what the library warns of."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message."""
        console.say(record.getMessage(), "yellow")


_messages = _Messages(logging.WARNING)


def show_warnings() -> None:
    """Print on the terminal what the library warns of from now on."""
    logging.getLogger("ernie_cmtl").addHandler(_messages)
