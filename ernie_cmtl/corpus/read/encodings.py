"""Encodings of text files: the names that are accepted, and any of them read as UTF-8."""

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ernie_cmtl.corpus.read.compression import open_bytes

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

AUTO, UTF8 = "auto", "utf-8"
# Each has ASCII as it is, or two or four bytes for it: in others, such as HZ, what is not UTF-8
# could not be told from what is.
FAMILIES = (
    ("gb18030", "gbk", "gb2312"),
    ("big5", "cp950", "big5hkscs"),
    ("shift_jis", "cp932", "shift_jis_2004", "shift_jisx0213"),
    ("euc_jp", "euc_jis_2004", "euc_jisx0213"),
    ("cp949", "euc_kr"),
    *((name,) for name in ("utf-16", "utf-16-le", "utf-16-be")),
    *((name,) for name in ("utf-32", "utf-32-le", "utf-32-be")),
)
"""Encodings of several bytes a character; those of one family are tried in this order."""
ENCODINGS = (
    UTF8,
    *(name for family in FAMILIES for name in family),
    *(f"cp{number}" for number in range(1250, 1259)),
    *(f"iso8859-{number}" for number in range(1, 17) if number != 12),
    *("koi8-r", "koi8-u", "mac-roman", "cp437", "cp850", "cp866", "cp874"),
)
_BUFFER_BYTES = 1 << 16
_UNDECODABLE = "ernie_cmtl.undecodable"
# Encoded with surrogateescape, it is the byte FF, which is in no UTF-8: what follows handles it as
# it handles any invalid byte.
codecs.register_error(_UNDECODABLE, lambda error: ("\udcff", error.end))  # type: ignore[attr-defined]


def accepted_encoding(name: str) -> str:
    """Return how an encoding that is accepted is written.

    Raises:
        ValueError: It is not accepted.
    """
    try:
        found = codecs.lookup(name).name
    except LookupError:
        found = ""
    known = {codecs.lookup(known).name: known for known in ENCODINGS}
    if found not in known:
        raise ValueError(f"unknown encoding {name!r}; accepted: {AUTO}, {', '.join(ENCODINGS)}")
    return known[found]


def shown_encoding(name: str) -> str:
    """Return the name of an encoding as iconv and Python both know it."""
    return name.upper().replace("_", "-").replace("-LE", "LE").replace("-BE", "BE")


def family_of(name: str) -> tuple[str, ...]:
    """Return the encodings of several bytes a character that are like one, itself among them; none
    for an encoding of one byte.
    """
    return next((family for family in FAMILIES if name in family), ())


def how_to_read(name: str) -> str:
    """Return what a person can do about files in another encoding than UTF-8."""
    convert = f"convert with iconv -f {name} -t UTF-8"
    try:
        accepted_encoding(name)
    except ValueError:
        return convert
    return f"read with reader.encoding={name}, or {convert}"


@contextmanager
def open_text(path: Path, encoding: str = UTF8) -> Iterator[IO[bytes]]:
    """Open a file of text as UTF-8; bytes that are not of its encoding become the byte FF.

    Raises:
        DamagedFileError: As `open_bytes`.
        UserError: As `open_bytes`.
    """
    with open_bytes(path) as stream:
        yield stream if encoding == UTF8 else io.BufferedReader(_Utf8(stream, encoding))


class _Utf8(io.RawIOBase):
    """A stream of text as UTF-8."""

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)(_UNDECODABLE)
        self._waiting = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view, ended = memoryview(buffer), False
        while not self._waiting and not ended:
            # One read at a time: what stands before a damage must not be lost with it.
            data = self._stream.read1(_BUFFER_BYTES)  # type: ignore[attr-defined]
            ended = not data
            text = self._decoder.decode(data, final=ended)
            self._waiting = text.encode(errors="surrogateescape")
        size = min(len(view), len(self._waiting))
        view[:size], self._waiting = self._waiting[:size], self._waiting[size:]
        return size
