"""What a page is made of: sections with charts and tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ernie_cmtl.charts import Chart


@dataclass(frozen=True)
class Table:
    """A table; every cell is text that was not checked."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading; the reader may fold it."""

    title: str
    notes: Sequence[str] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    is_open: bool = True

    @property
    def is_empty(self) -> bool:
        """Is there nothing to show."""
        return not (self.notes or self.charts or self.tables)


@dataclass(frozen=True)
class Page:
    """A page: its warnings come first."""

    title: str
    facts: Sequence[tuple[str, str]]
    warnings: Sequence[str]
    sections: Sequence[Section] = field(default_factory=list)

    @property
    def charts(self) -> list[Chart]:
        """All charts of the page."""
        return [chart for section in self.sections for chart in section.charts]
