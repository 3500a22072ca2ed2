"""A table of fractions becomes a table of whole numbers with the same totals."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import lcm

_Cell = tuple[int, int]


def round_table(table: Sequence[Sequence[Fraction]]) -> list[list[int]]:
    """Round each entry to a neighbouring whole number so that each row's sum, each column's and the
    whole one round likewise.

    A sum that is whole stays as it is. Controlled rounding as by Bacharach (1966): along a cycle of
    fractional entries one and the same amount is added and taken away in turn, until an entry of it
    is whole.
    """
    scale = lcm(*(entry.denominator for row in table for entry in row))
    # With minus the sums beside and below, each line sums to zero, so none has one fractional entry
    # alone.
    rows = [[int(entry * scale) for entry in row] for row in table]
    rows = [[*row, -sum(row)] for row in rows]
    rows.append([-sum(column) for column in zip(*rows, strict=True)])
    while cycle := _fractional_cycle(rows, scale):
        _shift(rows, cycle, scale)
    return [[entry // scale for entry in row[:-1]] for row in rows[:-1]]


def _fractional_cycle(rows: list[list[int]], scale: int) -> list[_Cell]:
    """Return fractional cells, of which each shares its row with one neighbour and its column with
    the other; or nothing.
    """
    start = next(
        ((r, c) for r, row in enumerate(rows) for c, entry in enumerate(row) if entry % scale), None
    )
    if start is None:
        return []
    walk = [start]
    # (is it a row, its number) -> place in the walk of the cell that it was left by.
    left_by = {(True, start[0]): 0}
    while True:
        along_column = len(walk) % 2 == 1
        line = (not along_column, walk[-1][1] if along_column else walk[-1][0])
        if line in left_by:
            return walk[left_by[line] :]
        walk.append(
            next(
                cell
                for cell in _line(rows, *line)
                if cell != walk[-1] and rows[cell[0]][cell[1]] % scale
            )
        )
        left_by[line] = len(walk) - 1


def _line(rows: list[list[int]], is_row: bool, number: int) -> Iterator[_Cell]:
    return (
        ((number, c) for c in range(len(rows[0])))
        if is_row
        else ((r, number) for r in range(len(rows)))
    )


def _shift(rows: list[list[int]], cycle: list[_Cell], scale: int) -> None:
    """Add an amount to every second cell and take it from the others: the smallest that makes one
    of them whole.
    """
    parts = [rows[r][c] % scale for r, c in cycle]
    up = min(scale - part if place % 2 == 0 else part for place, part in enumerate(parts))
    down = min(part if place % 2 == 0 else scale - part for place, part in enumerate(parts))
    amount = up if up <= down else -down
    for place, (r, c) in enumerate(cycle):
        rows[r][c] += amount if place % 2 == 0 else -amount
