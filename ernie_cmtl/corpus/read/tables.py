"""Tables of text -> rows: .jsonl, .csv and .tsv, also packed, and .parquet; a row that cannot be
read does not stop the rest.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ernie_cmtl.corpus.read.compression import COMPRESSIONS, DamagedFileError, has_ending
from ernie_cmtl.corpus.read.encoding_detection import encoding_hint
from ernie_cmtl.corpus.read.encodings import UTF8, open_text
from ernie_cmtl.corpus.read.rows import (
    BadRow,
    Row,
    UnknownColumnError,
    UnreadableHeaderError,
    choose_columns,
    listed,
)
from ernie_cmtl.errors import UserError

_KINDS = (".jsonl", ".csv", ".tsv")


def _with_packed(kind: str) -> tuple[str, ...]:
    return tuple(f"{kind}{packed}" for packed in COMPRESSIONS)


TEXT_LINES = _with_packed(".txt")
TABLES = (*(ending for kind in _KINDS for ending in _with_packed(kind)), ".parquet")
MAXIMUM_LINE_BYTES = 16 << 20
_LONGEST_CSV_FIELD = (1 << 31) - 1

_Fields = tuple[int, list[str]]


def read_rows(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    """Yield the rows of a table, each with its number and its values: str in .csv and .tsv, JSON
    values, or Python values.

    A row is numbered by the line where it begins, in .parquet by its place from 1. None for columns
    means all of them.

    Raises:
        UnknownColumnError: A column is missing.
        UserError: The ending is unknown, the header or a row cannot be read or has a
            wrong number of fields, or the file is damaged or not there.
    """
    kind = "row" if has_ending(path, ".parquet") else "line"
    try:
        for row in table_rows(path, columns, MAXIMUM_LINE_BYTES):
            if isinstance(row, BadRow):
                hint = encoding_hint(path) if row.reason == "invalid_utf8" else ""
                raise UserError(f"{path}, {kind} {row.number}: {row.detail}{hint}")
            yield row
    except (UnknownColumnError, UnreadableHeaderError) as error:
        raise type(error)(f"{error}{encoding_hint(path)}") from error
    except DamagedFileError as error:
        raise UserError(f"{path} is damaged; {error}") from error


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a `.txt`, also the empty ones, each with its number from 1.

    Raises:
        UserError: A line is no UTF-8 or too long, or the file is damaged or not there.
    """
    try:
        with open_text(path) as stream:
            lines = _Lines(stream, MAXIMUM_LINE_BYTES, repair=False)
            for number, line in lines:
                if line is None:
                    raise UserError(f"{path}, line {number}: {lines.too_long(number).detail}")
                yield number, lines.decode(line.removesuffix(b"\n").removesuffix(b"\r"))
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, line {number}: byte {error.start} is no UTF-8{encoding_hint(path)}"
        ) from error
    except DamagedFileError as error:
        raise UserError(f"{path} is damaged; {error}") from error


def table_rows(
    path: Path,
    columns: Sequence[str] | None,
    maximum_line_bytes: int,
    optional: Sequence[str] = (),
    repair: bool = False,
    encoding: str = UTF8,
) -> Iterator[Row | BadRow]:
    """Yield the rows of a table in the order of the file; None for columns means all of them.

    optional: further columns, which a row has where they are there; repair: bytes that are no UTF-8
    become lone surrogates, as Python's `surrogateescape` has it, in place of a bad row.

    Raises:
        UnknownColumnError: A column is missing in the header or schema; in .jsonl that makes a bad
            row instead.
        DamagedFileError: At the place of the damage.
        UnreadableHeaderError: The header cannot be read.
        UserError: The ending is unknown, or the file is not there.
    """
    if not has_ending(path, TABLES):
        raise UserError(f"cannot read {path} as a table: its ending is none of {', '.join(TABLES)}")
    if has_ending(path, ".parquet"):
        from ernie_cmtl.corpus.read.parquet import parquet_rows

        yield from parquet_rows(path, columns, optional, repair)
        return
    kind = next(kind for kind in _KINDS if has_ending(path, _with_packed(kind)))
    with open_text(path, encoding) as stream:
        lines = _Lines(stream, maximum_line_bytes, repair)
        if kind == ".jsonl":
            yield from _json_rows(lines, columns, optional)
        else:
            records = _quoted_records if kind == ".csv" else _tabbed_records
            yield from _rows_under_header(records(lines), path, columns, optional)


@dataclass
class _Lines:
    """The lines of a stream, numbered from 1."""

    stream: IO[bytes]
    limit: int
    """Most bytes of a line."""
    repair: bool

    def __iter__(self) -> Iterator[tuple[int, bytes | None]]:
        """Yield each line with its number; None stands for a line beyond the limit, which is not
        held in memory.
        """
        number = 0
        while line := self.stream.readline(self.limit + 1):
            number += 1
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf") or b"\n"
            if len(line) <= self.limit:
                yield number, line
                continue
            while line and not line.endswith(b"\n"):
                line = self.stream.readline(self.limit + 1)
            yield number, None

    def too_long(self, number: int) -> BadRow:
        """Return what stands for a row beyond the limit."""
        return BadRow(number, "line_too_long", f"more than {self.limit} bytes")

    def decode(self, line: bytes) -> str:
        """Return a line as text.

        Raises:
            UnicodeDecodeError: It is no UTF-8, and not to be repaired.
        """
        return line.decode(errors="surrogateescape" if self.repair else "strict")


def _json_rows(
    lines: _Lines, columns: Sequence[str] | None, optional: Sequence[str]
) -> Iterator[Row | BadRow]:
    for number, line in lines:
        if line is None:
            yield lines.too_long(number)
        elif line.strip():
            try:
                yield _json_row(
                    number, lines.decode(line).removeprefix("\ufeff"), columns, optional
                )
            except UnicodeDecodeError as error:
                yield BadRow(number, "invalid_utf8", f"byte {error.start} of the line")


def _json_row(
    number: int, line: str, columns: Sequence[str] | None, optional: Sequence[str]
) -> Row | BadRow:
    try:
        row = json.loads(line, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        return BadRow(number, "malformed_json", str(error))
    if not isinstance(row, dict):
        return BadRow(number, "no_text_field", f"no object with keys but a {type(row).__name__}")
    if columns is None:
        return number, row
    for column in columns:
        if column not in row:
            return BadRow(number, "no_text_field", f"no {column!r}; its keys: {listed(row)}")
    return number, {column: row[column] for column in (*columns, *optional) if column in row}


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object of JSON; which value is meant where a key stands twice, nobody can tell."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _rows_under_header(
    records: Iterator[_Fields | BadRow],
    path: Path,
    columns: Sequence[str] | None,
    optional: Sequence[str],
) -> Iterator[Row | BadRow]:
    header = next(records, None)
    if header is None:
        return
    if isinstance(header, BadRow):
        raise UnreadableHeaderError(
            f"cannot read the header of {path}, line {header.number}: {header.detail}"
        )
    names = header[1]
    columns = choose_columns(names if columns is None else columns, optional, names, path)
    places = [(column, names.index(column)) for column in columns]
    for record in records:
        if isinstance(record, BadRow):
            yield record
            continue
        number, fields = record
        if len(fields) == len(names):
            yield number, {column: fields[place] for column, place in places}
        else:
            yield BadRow(
                number, "wrong_columns", f"{len(fields)} fields, the header has {len(names)}"
            )


def _tabbed_records(lines: _Lines) -> Iterator[_Fields | BadRow]:
    for number, line in lines:
        if line is None:
            yield lines.too_long(number)
        elif content := line.removesuffix(b"\n").removesuffix(b"\r"):
            try:
                yield number, lines.decode(content).split("\t")
            except UnicodeDecodeError as error:
                yield BadRow(number, "invalid_utf8", f"byte {error.start} of the line")


class _OverlongRecordError(Exception):
    """The lines of one record are too many bytes."""


class _CsvLines:
    """The lines that the parser of .csv asks for, as many as the quotes of a record span."""

    def __init__(self, lines: _Lines) -> None:
        self._source = lines
        self._lines = iter(lines)
        self.number = 0
        self.begin_record()

    def begin_record(self) -> None:
        self.first = self.number + 1
        self.invalid = ""
        self._bytes = 0

    def __iter__(self) -> "_CsvLines":
        return self

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        if line is None or self._bytes + len(line) > self._source.limit:
            raise _OverlongRecordError
        self._bytes += len(line)
        try:
            return self._source.decode(line)
        except UnicodeDecodeError as error:
            self.invalid = f"byte {error.start} of line {self.number}"
            # The rest of the record is still needed, to find where it ends.
            return line.decode(errors="replace")


def _quoted_records(lines: _Lines) -> Iterator[_Fields | BadRow]:
    # The limit of the module is one for all its users and only raised; records are bounded here.
    csv.field_size_limit(max(csv.field_size_limit(), min(lines.limit, _LONGEST_CSV_FIELD)))
    source = _CsvLines(lines)
    parser = csv.reader(source, strict=True)
    while True:
        source.begin_record()
        try:
            fields = next(parser)
        except StopIteration:
            return
        except _OverlongRecordError:
            yield lines.too_long(source.first)
        except csv.Error as error:
            yield BadRow(
                source.first, "malformed_csv", f"lines {source.first} to {source.number}: {error}"
            )
        else:
            if source.invalid:
                yield BadRow(source.first, "invalid_utf8", source.invalid)
            elif fields:
                yield source.first, fields
