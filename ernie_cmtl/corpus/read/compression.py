"""Files as streams of bytes, unpacked by their ending; damage in one is an error of its own, not a
fault.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ernie_cmtl.errors import UserError

if TYPE_CHECKING:
    import pyarrow
    from _typeshed import WriteableBuffer

COMPRESSIONS = ("", ".gz", ".zst")
_LOST = "what stands after the damage is lost"
_BUFFER_BYTES = 1 << 16
_UNPACKED_FREELY = 1 << 30
_MOST_UNPACKED = 200
"""A file of more than `_UNPACKED_FREELY` bytes may be at most so many times as long as it is
packed; text is far from that.
"""


class DamagedFileError(Exception):
    """A file that cannot be read to its end; the message says what is lost."""

    def __init__(self, reason: str, detail: object) -> None:
        super().__init__(f"{_LOST}: {detail}")
        self.reason = reason


def has_ending(path: Path, endings: str | tuple[str, ...]) -> bool:
    """Tell whether a name has one of some endings, in small letters or capitals."""
    return path.name.lower().endswith(endings)


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, unpacked if it ends in .gz or .zst.

    Raises:
        DamagedFileError: At the place of the damage, or where it has grown beyond all measure,
            while reading.
        UserError: The file is not there or may not be read.
    """
    try:
        with _open(path) as stream:
            yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DamagedFileError("damaged_gzip", error) from error
    except FileNotFoundError as error:
        raise missing_file(path) from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def missing_file(path: Path) -> UserError:
    """Return what to say of a file that was listed and is not there."""
    return UserError(f"no file {path}: it was removed after the command had started, or never was")


def _open(path: Path) -> IO[bytes]:
    if has_ending(path, ".gz"):
        unpacked: io.BufferedIOBase = gzip.GzipFile(path, "rb")
    elif has_ending(path, ".zst"):
        unpacked = io.BufferedReader(_ZstdStream(path), _BUFFER_BYTES)
    else:
        return path.open("rb")
    limit = max(_UNPACKED_FREELY, _MOST_UNPACKED * path.stat().st_size)
    return io.BufferedReader(_BoundedStream(unpacked, limit), _BUFFER_BYTES)


class _Unpacking(io.RawIOBase):
    """A stream that is read from another one."""

    _stream: io.BufferedIOBase

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._stream.close()
        super().close()


class _BoundedStream(_Unpacking):
    """A stream that may not go on for ever."""

    def __init__(self, stream: io.BufferedIOBase, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._place = 0

    def readinto(self, buffer: "WriteableBuffer") -> int:
        # One read at a time: what stands before a damage must not be lost with it.
        data = self._stream.read1(len(memoryview(buffer)))
        self._place += len(data)
        if self._place > self._limit:
            raise DamagedFileError(
                "unpacks_too_far", f"more than {self._limit} bytes come out of it"
            )
        memoryview(buffer)[: len(data)] = data
        return len(data)


class _ZstdStream(_Unpacking):
    """The content of a .zst file of one or several frames."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = 0
        self._stream = self._begin()

    def readinto(self, buffer: "WriteableBuffer") -> int:
        try:
            count = int(self._stream.readinto(buffer))
        except OSError as error:
            if error.errno:
                raise
            count = self._read_up_to_damage(memoryview(buffer))
            if not count:
                raise DamagedFileError("damaged_zstd", error) from error
        self._place += count
        return count

    def _begin(self) -> "pyarrow.NativeFile":
        import pyarrow

        return pyarrow.CompressedInputStream(pyarrow.PythonFile(self._path.open("rb"), "r"), "zstd")

    def _read_up_to_damage(self, buffer: memoryview) -> int:
        # A read that fails gives nothing back, not even what stands before the damage: begin again,
        # with smaller reads.
        self._stream.close()
        self._stream = self._begin()
        left = self._place
        while left and (piece := self._stream.read(min(left, _BUFFER_BYTES))):
            left -= len(piece)
        for place in range(len(buffer)):
            try:
                buffer[place : place + 1] = self._stream.read(1)
            except OSError:
                return place
        return len(buffer)
