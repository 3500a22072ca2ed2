"""`.txt` -> documents: a file is one, or blank lines separate them; read in pieces, so that memory
stays bounded.
"""

from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import IO

from ernie_cmtl.corpus.read.checked_text import checked_documents
from ernie_cmtl.corpus.read.reader_config import ReaderConfig
from ernie_cmtl.records import Document, Rejection


def read_blocks(
    stream: IO[bytes], name: str, config: ReaderConfig
) -> Iterator[Document | Rejection]:
    """Yield documents that are separated by blank lines."""
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
    """Return where the last character begins, so that a cut there parts no character of several
    bytes.
    """
    place = len(data) - 1
    while place > 0 and data[place] & 0xC0 == 0x80:
        place -= 1
    return place or len(data)


def read_whole(
    stream: IO[bytes], name: str, config: ReaderConfig
) -> Iterator[Document | Rejection]:
    """Yield a file as one document, or as several parts where it is long."""
    # Read a bounded piece at a time and keep the part after the last line end for the next one.
    piece_bytes = 4 * config.maximum_characters
    rest, start, part = b"", 0, 0
    while piece := stream.read(piece_bytes):
        data = rest + piece
        end = (
            len(data)
            if len(piece) < piece_bytes
            else (data.rfind(b"\n") + 1 or _last_character(data))
        )
        data, rest = data[:end], data[end:]
        part += 1
        yield from _decode(data, _part(name, part), config, start)
        start += end
    if rest or part == 0:
        yield from _decode(rest, _part(name, part + 1), config, start)


def _decode(
    data: bytes, identifier: str, config: ReaderConfig, start: int
) -> Iterator[Document | Rejection]:
    """Yield the documents of some bytes; start: where in the unpacked file they begin."""
    try:
        text = data.decode(
            "utf-8-sig", errors="surrogateescape" if config.errors == "repair" else "strict"
        )
    except UnicodeDecodeError as error:
        start += len(BOM_UTF8) if data.startswith(BOM_UTF8) else 0
        yield Rejection(identifier, "invalid_utf8", f"byte {start + error.start} of the file")
        return
    yield from checked_documents(identifier, text, config)
