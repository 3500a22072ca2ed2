"""Files written so that a name stands for a complete file or for none, and their hashes."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Array


def write_array(path: Path, array: Array) -> str:
    """Write an array as `.npy`, all or nothing, and return the SHA-256 of the file."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as stream:
        np.lib.format.write_array(stream, array, allow_pickle=False)
    found = file_hash(partial)
    _rename(partial, path)
    return found


def write_text(path: Path, text: str) -> None:
    """Write a text, all or nothing."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    _rename(partial, path)


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
    return f"{path} cannot be written: {error.strerror or error}; {shutil.disk_usage(folder).free / 1e6:,.1f} MB are free there"


def write_folder(path: Path, fill: Callable[[Path], object]) -> None:
    """Make a folder, all or nothing: it gets its name once it is filled."""
    partial = path.with_name(path.name + ".partial")
    partial.mkdir(parents=True)
    fill(partial)
    _rename(partial, path)


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
