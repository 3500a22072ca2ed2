"""Files written so that a name stands for a complete file or for none, and their hashes.

Nothing here follows a symbolic link to write or to remove: a folder may come from somebody else, or
be shared with others.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Array

PARTIAL = ".partial"
"""Ending of the name that a file or folder has until it is complete."""


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
    except BaseException:
        # On a full disk it would take the room that others need.
        partial.unlink(missing_ok=True)
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
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise UserError(f"cannot read {path}: {' '.join(str(error).split())}") from error


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_problem(path: Path, error: OSError) -> str:
    """Say of a file that it could not be written, why, and how much room its disk has."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    return (
        f"{path} cannot be written: {error.strerror or error}; "
        f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB are free there"
    )


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
