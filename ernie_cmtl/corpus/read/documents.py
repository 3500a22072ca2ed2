"""Files and datasets -> documents, in a fixed order, with every document that cannot be used rejected by name and reason."""

import glob
import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict, Field

from ernie_cmtl.corpus.read.compression import COMPRESSIONS, DamagedFileError, open_bytes
from ernie_cmtl.corpus.read.hub_datasets import (
    PREFIX,
    DatasetInput,
    dataset_hint,
    dataset_rows,
    is_saved_dataset,
    parse_dataset,
)
from ernie_cmtl.corpus.read.rows import BadRow, Row, UnknownColumnError
from ernie_cmtl.corpus.read.tables import MAXIMUM_LINE_BYTES, TABLES, table_rows
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Document, Rejection

SUFFIXES = (*(f".txt{packed}" for packed in COMPRESSIONS), *TABLES)
_BREAKS = (re.compile(r"\n[^\S\n]*\n"), re.compile(r"\n"), re.compile(r"\s"))
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

ErrorPolicy = Literal["skip", "strict", "repair"]


class ReaderConfig(BaseModel):
    """How inputs become documents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text_documents: Literal["file", "blank_line"] = "file"
    """In `.txt`: a file is one document, or blank lines separate documents."""
    text_field: str = "text"
    """In every other format: the key or column that holds the text."""
    title_field: str | None = None
    """In every format but `.txt`: a key or column that holds the title, kept beside the text; a document may have none."""
    maximum_characters: int = Field(1_000_000, ge=1_000)
    """A longer document is cut into parts at a paragraph, line or space; each part counts as a document."""
    maximum_line_bytes: int = Field(MAXIMUM_LINE_BYTES, ge=1_000)
    """A longer line of `.jsonl` or `.tsv`, or row of `.csv`, is rejected without being held in memory."""
    errors: ErrorPolicy = "skip"
    """A document that cannot be used: skip rejects it, strict stops the build, repair puts U+FFFD where bytes are no text and
    rejects it only if more than that is wrong."""
    source_errors: dict[str, ErrorPolicy] = {}
    """Source -> what it has in place of `errors`."""
    lost_files: Literal["strict", "skip"] = "strict"
    """A file of which nothing can be used, or that is in another encoding: strict stops the build after the first reading, skip
    rejects its documents like any other."""
    maximum_reject_rate: float = Field(0.5, ge=0, le=1)
    """A source of which a larger part is rejected stops the build, once it has a hundred documents."""

    @property
    def optional_fields(self) -> list[str]:
        """Keys or columns that are read where they are there, beyond the text."""
        return [self.title_field] if self.title_field else []

    def of_source(self, source: str) -> "ReaderConfig":
        """Return the settings for one source."""
        return self.model_copy(update={"errors": self.source_errors.get(source, self.errors)})


@dataclass(frozen=True, order=True, slots=True)
class FileInput:
    """A file of text."""

    path: Path

    @property
    def name(self) -> str:
        """The short name that the identifiers of its documents begin with."""
        return self.path.name

    @property
    def label(self) -> str:
        """The full name, for messages and logs."""
        return str(self.path)

    def stamp(self) -> tuple[int, ...]:
        """Return what tells whether the file was changed: size and time of its last change; nothing if it is not there."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return ()
        return status.st_size, status.st_mtime_ns

    def inside(self, folder: Path) -> bool:
        """Tell whether the file lies in a folder."""
        return folder in self.path.parents


Input = FileInput | DatasetInput
"""What one word of the user's names, or one of the files that it names."""


def find_inputs(words: list[str]) -> list[Input]:
    """Return what paths, folders (searched recursively), globs and `datasets:NAME` name, sorted and without repetition.

    Raises:
        UserError: A path does not exist, has an unknown ending, or holds no text file; a dataset is not written as it should
            be, or is not known to the Hugging Face Hub, or that cannot be reached.
    """
    named = [word for word in words if word.startswith(PREFIX)]
    files = {FileInput(file) for word in words if word not in named for file in _find_files(word)}
    return [*sorted(files), *sorted({parse_dataset(word) for word in named})]


def read_documents(source: Input, config: ReaderConfig) -> Iterator[Document | Rejection]:
    """Yield each document of an input, or the rejection that stands for it; the order is that of the input.

    Raises:
        UserError: The column of the text is not there, the header cannot be read, the file is not there, the dataset cannot be
            opened or read to its end, or `config.errors` is strict and a document cannot be used.
    """
    for item in _read(source, config):
        if config.errors == "strict" and isinstance(item, Rejection):
            reason = f"{item.reason}, {item.detail}" if item.detail else item.reason
            raise UserError(f"{source.label}: {item.identifier} cannot be used ({reason}); errors=skip rejects it alone")
        yield item


def _read(source: Input, config: ReaderConfig) -> Iterator[Document | Rejection]:
    repair = config.errors == "repair"
    try:
        if isinstance(source, DatasetInput):
            rows = dataset_rows(source, [config.text_field], config.optional_fields, repair)
            yield from _row_documents(rows, source.name, config)
        elif source.name.endswith(TABLES):
            limit = config.maximum_line_bytes
            rows = table_rows(source.path, [config.text_field], limit, config.optional_fields, repair)
            yield from _row_documents(rows, source.name, config)
        else:
            with open_bytes(source.path) as stream:
                read = _read_blocks if config.text_documents == "blank_line" else _read_whole
                yield from read(stream, source.name, config)
    except DamagedFileError as error:
        yield Rejection(source.name, error.reason, str(error))
    except UnknownColumnError as error:
        raise UserError(f"{error}; reader.text_field=NAME says which one holds the text") from error


def _find_files(word: str) -> Iterator[Path]:
    path = Path(word).expanduser()
    if path.is_dir():
        files = [p for p in path.rglob("*") if p.is_file() and _suffix(p)]
        if not files:
            hint = f"; as save_to_disk wrote it, it is written {PREFIX}{word}" if is_saved_dataset(path) else ""
            raise UserError(f"no text in folder {word}: it holds no file ending in {', '.join(SUFFIXES)}{hint}")
    elif path.is_file():
        if not _suffix(path):
            raise UserError(f"cannot read {word}: its ending is none of {', '.join(SUFFIXES)}")
        files = [path]
    else:
        files = [p for p in map(Path, glob.glob(str(path), recursive=True)) if p.is_file() and _suffix(p)]
        if not files:
            raise UserError(f"no such file, folder or glob: {word}{dataset_hint(word)}")
    # Not resolved: the name of a link says what it holds, the name of its target may not.
    yield from (Path(os.path.abspath(file)) for file in files)


def _suffix(path: Path) -> bool:
    return path.name.endswith(SUFFIXES)


def _row_documents(rows: Iterable[Row | BadRow], name: str, config: ReaderConfig) -> Iterator[Document | Rejection]:
    for row in rows:
        if isinstance(row, BadRow):
            yield Rejection(f"{name}#{row.number}", row.reason, row.detail)
            continue
        number, values = row
        text = values[config.text_field]
        title = values.get(config.title_field or "")
        if isinstance(text, str):
            yield from _documents(f"{name}#{number}", text, config, title.strip() if isinstance(title, str) else "")
        else:
            detail = f"no string under {config.text_field!r} but a {type(text).__name__}"
            yield Rejection(f"{name}#{number}", "no_text_field", detail)


def _read_blocks(stream: IO[bytes], name: str, config: ReaderConfig) -> Iterator[Document | Rejection]:
    block, first_line, line, part = b"", 1, 1, 1
    place, at_line_start = 0, True
    while piece := stream.readline(config.maximum_characters):
        ends_line = piece.endswith(b"\n")
        blank = at_line_start and ends_line and not piece.strip()
        if not block and part == 1:
            first_line = line
        block += b"" if blank else piece
        place += len(piece)
        at_line_start = ends_line
        line += ends_line
        # A block without an end is cut, so that memory stays bounded.
        full = len(block) >= 4 * config.maximum_characters
        if block and (blank or full):
            end = len(block) if blank else block.rfind(b"\n") + 1 or _last_character(block)
            start = place - len(block) - (len(piece) if blank else 0)
            yield from _decode(block[:end], _part(f"{name}#{first_line}", part), config, start)
            block, part = block[end:], 1 if blank else part + 1
    if block:
        yield from _decode(block, _part(f"{name}#{first_line}", part), config, place - len(block))


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
    rest, start, part = b"", 0, 0
    while piece := stream.read(piece_bytes):
        data = rest + piece
        end = len(data) if len(piece) < piece_bytes else (data.rfind(b"\n") + 1 or _last_character(data))
        data, rest = data[:end], data[end:]
        part += 1
        yield from _decode(data, _part(name, part), config, start)
        start += end
    if rest or part == 0:
        yield from _decode(rest, _part(name, part + 1), config, start)


def _decode(data: bytes, identifier: str, config: ReaderConfig, start: int) -> Iterator[Document | Rejection]:
    """Yield the documents of some bytes; start: where in the unpacked file they begin."""
    try:
        text = data.decode("utf-8-sig", errors="surrogateescape" if config.errors == "repair" else "strict")
    except UnicodeDecodeError as error:
        start += len(BOM_UTF8) if data.startswith(BOM_UTF8) else 0
        yield Rejection(identifier, "invalid_utf8", f"byte {start + error.start} of the file")
        return
    yield from _documents(identifier, text, config)


def _documents(identifier: str, text: str, config: ReaderConfig, title: str = "") -> Iterator[Document | Rejection]:
    text = text.replace("\r\n", "\n").strip()
    if not text:
        yield Rejection(identifier, "empty")
        return
    wrong = _LONE_SURROGATE.search(text) or _LONE_SURROGATE.search(title)
    if wrong and config.errors != "repair":
        yield Rejection(identifier, "lone_surrogate", f"character {wrong.start()}")
        return
    title = _LONE_SURROGATE.sub("\ufffd", title)
    if len(text) <= config.maximum_characters:
        yield _document(identifier, text, title)
        return
    for number, part in enumerate(_cut(text, config.maximum_characters), start=1):
        yield _document(f"{identifier}/{number}", part, title)


def _document(identifier: str, text: str, title: str) -> Document:
    text, repaired = _LONE_SURROGATE.subn("\ufffd", text)
    return Document(identifier, text, len(text.encode()), title, repaired > 0)


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
