"""Files written so that a name stands for a complete file or for none, and their hashes.

Nothing here follows a symbolic link to write or to remove: a folder may come from somebody else, or
be shared with others.
"""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np

from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Array

PARTIAL = ".partial"
"""Ending of the name that a file or folder has until it is complete."""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_OF_FILES = _NO_ROOM | {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.EEXIST, errno.ENOTDIR),
    *(errno.EISDIR, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO, errno.ESTALE),
    *(errno.EMFILE, errno.ENFILE, errno.EXDEV, errno.EBUSY, errno.ETXTBSY, errno.ENODEV),
}
"""What a file system refuses; other numbers speak of connections and processes."""
_RUST = re.compile(r"\(os error (\d+)\)")


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that gets its name, in place of an older file or link, once the block has ended
    without an error.
    """
    partial = _partial(path)
    # A broken write has left it, or somebody has put a link there: what the link leads to stays.
    partial.unlink(missing_ok=True)
    try:
        with open(partial, "xb", opener=_not_following) as stream:
            yield stream
        _rename(partial, path)
    except BaseException as error:
        # On a full disk it would take the room that others need.
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:
            # A write that fails does not say to which file.
            error.filename = error.filename or str(path)
        raise


def open_to_append(path: Path) -> IO[bytes]:
    """Open a file for writing at its end, without a buffer.

    Raises:
        OSError: It cannot be written, or is a symbolic link.
    """
    return open(path, "ab", buffering=0, opener=_not_following)


def _not_following(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NOFOLLOW, 0o666)


def write_array(path: Path, array: Array) -> str:
    """Write an array as `.npy`, all or nothing, and return the SHA-256 of the file."""
    with new_file(path) as stream:
        np.lib.format.write_array(stream, array, allow_pickle=False)
    return file_hash(path)


def write_text(path: Path, text: str) -> None:
    """Write a text, all or nothing.

    File names may hold bytes that are not UTF-8; JSON reads back what stands for them here.
    """
    with new_file(path) as stream:
        stream.write(text.encode(errors="backslashreplace"))


def read_array(path: Path) -> Array:
    """Map a `.npy` file into memory, read-only.

    Raises:
        UserError: It is not there, or holds no array of numbers.
    """
    try:
        # A plain view of the map: its own class makes every slice several times as slow.
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    # A header is Python text, of which the parser's errors are types of their own.
    except (OSError, ValueError, EOFError, OverflowError, SyntaxError, TokenError) as error:
        raise UserError(f"cannot read {path}: {' '.join(str(error).split())}") from error


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_problem(path: Path, error: OSError) -> str:
    """Say of a file that it could not be written, why, and how much room its disk has."""
    return f"{path} cannot be written: {error.strerror or error}; {_room(path)}"


@contextmanager
def file_problems_told(folder: Path | None = None) -> Iterator[None]:
    """Turn what a file system refuses into a message: file, reason, and the room where a disk is
    full.

    folder: that is written in, for errors that do not name their file.

    Raises:
        UserError: A file could not be read or written.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        found = _operating_system_error(error)
        if found is None or found.errno not in _OF_FILES:
            raise
        raise UserError(_told(found, folder)) from error


def _told(error: OSError, folder: Path | None) -> str:
    path = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    where = path or (f"a file in {folder}" if folder else "a file")
    reason = f"{where}: {os.strerror(error.errno or 0)}"
    if error.errno not in _NO_ROOM:
        return f"{reason}; check the path and the permissions of its folder"
    place = Path(path) if path else folder
    room = f" ({_room(place)})" if place else ""
    return f"{reason}{room}; make room and run the same command again"


def _operating_system_error(error: Exception) -> OSError | None:
    if isinstance(error, OSError):
        return error
    # Tokenizers 0.23 and safetensors 0.8 raise types of their own, whose text ends like this.
    match = _RUST.search(str(error))
    return OSError(int(match[1]), str(error)) if match else None


def _room(path: Path) -> str:
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    return f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB are free there"


def write_folder(path: Path, fill: Callable[[Path], object]) -> None:
    """Make a folder, all or nothing: it gets its name once it is filled."""
    partial = _partial(path)
    remove_folder(partial)
    partial.mkdir(parents=True)
    fill(partial)
    _rename(partial, path)


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it, if it is there.

    Raises:
        UserError: It is a symbolic link, or no folder.
    """
    refuse_link(path)
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is no folder; remove it yourself if it is not needed")
    if path.exists():
        # Links below are removed themselves, never what they lead to.
        shutil.rmtree(path)


def refuse_link(path: Path) -> None:
    """Refuse a path that is a symbolic link.

    Raises:
        UserError: It is one; the message says where it leads.
    """
    if path.is_symlink():
        raise UserError(
            f"{path} is a symbolic link to {path.readlink()}; nothing is written or removed "
            "through links: name its target, or remove the link"
        )


def _partial(path: Path) -> Path:
    return path.with_name(path.name + PARTIAL)


def _rename(partial: Path, path: Path) -> None:
    sync(partial)
    partial.rename(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file or folder stands on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
