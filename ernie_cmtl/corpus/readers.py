"""Files of raw text -> documents, in a fixed order, with every document that cannot be used rejected by name and reason."""

import glob
import gzip
import json
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Document, Rejection

SUFFIXES = (".txt", ".jsonl", ".txt.gz", ".jsonl.gz")
_BREAKS = (re.compile(r"\n[^\S\n]*\n"), re.compile(r"\n"), re.compile(r"\s"))


class ReaderConfig(BaseModel):
    """How files become documents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text_documents: Literal["file", "blank_line"] = "file"
    """In `.txt`: a file is one document, or blank lines separate documents."""
    text_field: str = "text"
    """In `.jsonl`: the key that holds the text."""
    maximum_characters: int = Field(1_000_000, ge=1_000)
    """A longer document is cut into parts at a paragraph, line or space; each part counts as a document."""
    maximum_line_bytes: int = Field(64 << 20, ge=1_000)
    """A longer line of `.jsonl` is rejected without being held in memory."""


def find_files(inputs: list[str]) -> list[Path]:
    """Return the text files named by paths, folders (searched recursively) and globs, sorted and without repetition.

    Raises:
        UserError: A path does not exist, has an unknown ending, or holds no text file.
    """
    found: set[Path] = set()
    for name in inputs:
        path = Path(name).expanduser()
        if path.is_dir():
            files = [p for p in path.rglob("*") if p.is_file() and _suffix(p)]
            if not files:
                raise UserError(f"no text in folder {name}: it holds no file ending in {', '.join(SUFFIXES)}")
        elif path.is_file():
            if not _suffix(path):
                raise UserError(f"cannot read {name}: its ending is none of {', '.join(SUFFIXES)}")
            files = [path]
        else:
            files = [p for p in map(Path, glob.glob(str(path), recursive=True)) if p.is_file() and _suffix(p)]
            if not files:
                raise UserError(f"no such file, folder or glob: {name}")
        # Not resolved: the name of a link says what it holds, the name of its target may not.
        found.update(Path(os.path.abspath(file)) for file in files)
    return sorted(found)


def read_documents(path: Path, config: ReaderConfig) -> Iterator[Document | Rejection]:
    """Yield each document of a file, or the rejection that stands for it; the order is that of the file."""
    try:
        with _open(path) as stream:
            if path.name.endswith((".jsonl", ".jsonl.gz")):
                yield from _read_jsonl(stream, path.name, config)
            elif config.text_documents == "blank_line":
                yield from _read_blocks(stream, path.name, config)
            else:
                yield from _read_whole(stream, path.name, config)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield Rejection(path.name, "damaged_gzip", f"what stands after the damage is lost: {error}")
    except FileNotFoundError as error:
        raise UserError(f"{path} was removed while the corpus was built") from error


def _suffix(path: Path) -> bool:
    return path.name.endswith(SUFFIXES)


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _read_jsonl(stream: IO[bytes], name: str, config: ReaderConfig) -> Iterator[Document | Rejection]:
    limit = config.maximum_line_bytes
    number = 0
    while line := stream.readline(limit + 1):
        number += 1
        identifier = f"{name}#{number}"
        if len(line) > limit:
            while line and not line.endswith(b"\n"):
                line = stream.readline(limit + 1)
            yield Rejection(identifier, "line_too_long", f"more than {limit} bytes")
        elif line.strip():
            yield from _parse_row(line, identifier, config)


def _parse_row(line: bytes, identifier: str, config: ReaderConfig) -> Iterator[Document | Rejection]:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        yield Rejection(identifier, "invalid_utf8", f"byte {error.start} of the line")
        return
    except (ValueError, RecursionError) as error:
        yield Rejection(identifier, "malformed_json", str(error))
        return
    text = row.get(config.text_field) if isinstance(row, dict) else None
    if not isinstance(text, str):
        yield Rejection(identifier, "no_text_field", f"no string under {config.text_field!r}")
        return
    yield from _documents(identifier, text, config)


def _read_blocks(stream: IO[bytes], name: str, config: ReaderConfig) -> Iterator[Document | Rejection]:
    block, first_line, line, part = b"", 1, 1, 1
    at_line_start = True
    while piece := stream.readline(config.maximum_characters):
        ends_line = piece.endswith(b"\n")
        blank = at_line_start and ends_line and not piece.strip()
        if not block and part == 1:
            first_line = line
        block += b"" if blank else piece
        at_line_start = ends_line
        line += ends_line
        # A block without an end is cut, so that memory stays bounded.
        full = len(block) >= 4 * config.maximum_characters
        if block and (blank or full):
            end = len(block) if blank else block.rfind(b"\n") + 1 or _last_character(block)
            yield from _decode(block[:end], _part(f"{name}#{first_line}", part), config)
            block, part = block[end:], 1 if blank else part + 1
    if block:
        yield from _decode(block, _part(f"{name}#{first_line}", part), config)


def _part(identifier: str, part: int) -> str:
    return identifier if part == 1 else f"{identifier}@{part}"


def _last_character(data: bytes) -> int:
    """Return where the last character begins, so that a cut there parts no character of several bytes."""
    place = len(data) - 1
    while place > 0 and data[place] & 0xC0 == 0x80:
        place -= 1
    return place or len(data)


def _read_whole(stream: IO[bytes], name: str, config: ReaderConfig) -> Iterator[Document | Rejection]:
    # Read a bounded piece at a time and keep the part after the last line end for the next one.
    piece_bytes = 4 * config.maximum_characters
    rest, part = b"", 0
    while piece := stream.read(piece_bytes):
        data = rest + piece
        end = len(data) if len(piece) < piece_bytes else (data.rfind(b"\n") + 1 or _last_character(data))
        data, rest = data[:end], data[end:]
        part += 1
        yield from _decode(data, _part(name, part), config)
    if rest or part == 0:
        yield from _decode(rest, _part(name, part + 1), config)


def _decode(data: bytes, identifier: str, config: ReaderConfig) -> Iterator[Document | Rejection]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        yield Rejection(identifier, "invalid_utf8", f"byte {error.start}")
        return
    yield from _documents(identifier, text, config)


def _documents(identifier: str, text: str, config: ReaderConfig) -> Iterator[Document | Rejection]:
    text = text.replace("\r\n", "\n").strip()
    if not text:
        yield Rejection(identifier, "empty")
        return
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        yield Rejection(identifier, "lone_surrogate", f"character {error.start}")
        return
    if len(text) <= config.maximum_characters:
        yield Document(identifier, text, size)
        return
    for number, part in enumerate(_cut(text, config.maximum_characters), start=1):
        yield Document(f"{identifier}/{number}", part, len(part.encode()))


def _cut(text: str, limit: int) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = min(len(text), start + limit)
        if end < len(text):
            end = next((last for last in (_last_break(text, pattern, start, end) for pattern in _BREAKS) if last), end)
        if part := text[start:end].strip():
            yield part
        start = end


def _last_break(text: str, pattern: re.Pattern[str], start: int, end: int) -> int:
    """Return the end of the last match in the second half of text[start:end], or 0."""
    last = 0
    for match in pattern.finditer(text, start + (end - start) // 2, end):
        last = match.end()
    return last
