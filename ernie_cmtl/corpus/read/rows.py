"""Rows of a table, whatever its format: their values by column, or why one cannot be read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ernie_cmtl.errors import UserError

_LISTED = 1000

Row = tuple[int, dict[str, object]]
"""The number of a row and its values by column."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, and why."""

    number: int
    reason: str
    detail: str


class UnknownColumnError(UserError):
    """A column was asked for that is not there."""


class UnreadableHeaderError(UserError):
    """The header of a table cannot be read."""


def choose_columns(
    wanted: Sequence[str], optional: Sequence[str], known: Sequence[str], label: object
) -> list[str]:
    """Return the columns that are wanted, each of which must be there once, and those of the
    optional ones that are there.

    Raises:
        UnknownColumnError: It is not.
    """
    chosen = [*wanted, *(column for column in optional if column in known)]
    for column in chosen:
        if (count := known.count(column)) != 1:
            found = f"has {count} columns" if count else "has no column"
            raise UnknownColumnError(f"{label} {found} {column!r}; its columns: {listed(known)}")
    return chosen


def some(names: Sequence[str], most: int = 3) -> str:
    """Return the first names for a message, and how many more there are."""
    more = [f"{len(names) - most} more"] if len(names) > most else []
    return ", ".join([*names[:most], *more])


def listed(names: Iterable[str]) -> str:
    """Return names for a message, cut where there are too many."""
    text = ", ".join(map(str, names))
    return text if len(text) <= _LISTED else f"{text[:_LISTED]}..."
