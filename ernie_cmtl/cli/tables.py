"""The one way in which tables are laid out: no name and no number is ever cut.

In a pipe a row is one line, however long. On a terminal cells are broken between words; where that
does not suffice, each row becomes a block of lines, one for each column.
"""

import re
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from ernie_cmtl.cli.terminal import styled

Cell = str | Text
_GAP = 2
"""Columns of the terminal between two columns of a table."""
_NUMBER = re.compile(r"[-+]?[\d.,]+ ?%?( ± [\d.,]+)?")


class Table:
    """Rows of cells below the names of their columns; text of a cell stands as it is."""

    def __init__(self, *columns: str, title: str = "", caption: str = "") -> None:
        """columns: their names; all empty: the table shows none."""
        self._columns, self._title, self._caption = columns, title, caption
        self._rows: list[tuple[list[Text], str]] = []

    def add_row(self, *cells: Cell, style: str = "") -> None:
        """Add a row; columns without a cell stay empty."""
        texts = [cell if isinstance(cell, Text) else styled(cell) for cell in cells]
        self._rows.append((texts + [Text()] * (len(self._columns) - len(texts)), style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield title, rows and caption."""
        if self._title:
            yield _unbroken(styled(self._title, "italic"))
        widths = self._widths(options.max_width if console.is_terminal else None)
        if widths is None:
            yield from self._blocks(console, options)
        else:
            yield from self._laid_out(widths, console, options, ruled=console.is_terminal)
        if self._caption:
            yield styled(self._caption, "dim italic")

    def _widths(self, width: int | None) -> list[int] | None:
        """Return the width of each column; None where names or numbers would have to be cut."""
        columns = list(zip(*self._all_cells(), strict=True))
        widest = [max(cell.cell_len for cell in cells) for cells in columns]
        if width is None:
            return widest
        left = width - _GAP * (len(columns) - 1)
        narrowest = [max(map(_longest_word, cells)) for cells in columns]
        if sum(narrowest) > left:
            return None
        # The room that is left goes to where most is missing.
        widths = narrowest
        for _ in range(left - sum(narrowest)):
            lacks = [wide - now for wide, now in zip(widest, widths, strict=True)]
            if not any(lacks):
                break
            widths[lacks.index(max(lacks))] += 1
        return widths

    def _all_cells(self) -> list[list[Text]]:
        return [[styled(name) for name in self._columns], *(cells for cells, _ in self._rows)]

    def _laid_out(
        self, widths: Sequence[int], console: Console, options: ConsoleOptions, ruled: bool
    ) -> RenderResult:
        table = RichTable(
            box=SIMPLE_HEAD if ruled else None,
            show_edge=False,
            pad_edge=False,
            padding=(0, _GAP - ruled, 0, 0),
            show_header=any(self._columns),
        )
        for number, (name, width) in enumerate(zip(self._columns, widths, strict=True)):
            plain = [cells[number].plain for cells, _ in self._rows]
            # Below one another only where a column has a name: not in blocks.
            right = (
                name
                and number
                and all(cell in ("", "-") or _NUMBER.fullmatch(cell) for cell in plain)
            )
            table.add_column(styled(name), width=width, justify="right" if right else "left")
        for cells, style in self._rows:
            table.add_row(*cells, style=style)
        # Names may be longer than the terminal is wide, which then breaks the line itself.
        width = sum(widths) + _GAP * len(widths)
        yield from console.render(table, options.update(width=width, no_wrap=False))

    def _blocks(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield a block for each row: its first cell, and below it the others with the names of
        their columns.
        """
        for (first, *others), style in self._rows:
            heading = first.copy()
            heading.stylize(style or "bold")
            yield _unbroken(heading)
            block = Table("", "")
            for name, cell in zip(self._columns[1:], others, strict=True):
                if cell.plain:
                    block.add_row(" " * _GAP + name, cell, style=style)
            if block._rows:
                names, values = zip(*block._all_cells(), strict=True)
                left = max(name.cell_len for name in names)
                right = max(options.max_width - left - _GAP, *map(_longest_word, values))
                yield from block._laid_out((left, right), console, options, ruled=False)


def _longest_word(cell: Text) -> int:
    return max(map(cell_len, cell.plain.split()), default=0)


def _unbroken(text: Text) -> Text:
    text.overflow = "ignore"
    return text
