"""The right to write in a folder: one process at a time has it, and nothing that is written there
leads out of the folder.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import SoftFileLease, Timeout

from ernie_cmtl.atomic_files import (
    PARTIAL,
    file_problems_told,
    refuse_link,
    write_problem,
    write_text,
)
from ernie_cmtl.errors import UserError
from ernie_cmtl.printable import printable

_log = logging.getLogger(__name__)

LOCK, HOLDER = ".lock", ".lock.json"
"""Files in the folder while somebody writes: the lock itself, and what it says to people."""
_BEAT_SECONDS = 1.0
"""So often a holder touches its lock."""
_LEASE_SECONDS = 60.0
"""A holder whose lock was not touched for so long is dead, wherever it ran. All who want one folder
must agree on it.
"""


class SoleWriter:
    """This process's right to write in a folder."""

    def __init__(self, folder: Path, lock: SoftFileLease) -> None:
        self._folder, self._lock = folder, lock

    def check(self) -> None:
        """Make sure that nobody has taken the folder over meanwhile, as from a process that was
        stopped for minutes.

        Raises:
            UserError: Somebody has.
        """
        if self._lock.compromise:
            raise UserError(
                f"{_holder(self._folder, self._lock)} writes in {self._folder} by now: this "
                "process did not show signs of life"
            )


@contextmanager
def sole_writer(
    folder: Path, parts: Collection[str], foreign: Collection[str] = ()
) -> Iterator[SoleWriter]:
    """Make a folder if it is not there, and be the only one who writes in it; if it is still empty
    at the end, it goes again.

    parts: names in the folder that we write; foreign: names of folders in it that other programs
    fill.

    Raises:
        UserError: Another process writes there (the message names it), it cannot be written, a part
            of it is a link, or its name is not UTF-8.
    """
    if str(folder) != printable(str(folder)):
        raise UserError(
            f"the name of the folder {folder} holds control characters or bytes that are not "
            "UTF-8, which other programs do not open; take another name"
        )
    for path in (folder, folder / LOCK, folder / HOLDER):
        refuse_link(path)
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _locked(folder)
    except OSError as error:
        raise UserError(write_problem(folder / LOCK, error)) from error
    try:
        refuse_links(folder, parts, foreign)
        write_text(folder / HOLDER, json.dumps(_about_this_process()))
        with file_problems_told(folder):
            yield SoleWriter(folder, lock)
    finally:
        try:
            if not lock.compromise:
                (folder / HOLDER).unlink(missing_ok=True)
        finally:
            lock.release()
        if made:
            with suppress(OSError):
                folder.rmdir()


def contents(folder: Path) -> set[str]:
    """Return the names in a folder, if it is there, without those that belong to its lock."""
    # A process that was killed leaves some behind.
    return (
        {path.name for path in folder.iterdir() if not path.name.startswith(LOCK)}
        if folder.exists()
        else set()
    )


def refuse_links(folder: Path, parts: Collection[str], foreign: Collection[str] = ()) -> None:
    """Refuse a folder in which a part that we write, or anything below it, is a symbolic link or
    another special file.

    parts, foreign: as in `sole_writer`; of what others fill only the name itself is looked at.

    Raises:
        UserError: It names the link and where it leads.
    """
    ours = {name + ending for name in parts for ending in ("", PARTIAL)}
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in ours or entry.name in foreign:
                _refuse_special(entry, below=entry.name in ours)


def _refuse_special(entry: "os.DirEntry[str]", below: bool) -> None:
    if entry.is_dir(follow_symlinks=False):
        if below:
            with os.scandir(entry) as entries:
                for inner in entries:
                    _refuse_special(inner, below)
    elif not entry.is_file(follow_symlinks=False):
        refuse_link(Path(entry.path))
        raise UserError(f"{entry.path} is neither a file nor a folder; remove it")


def _locked(folder: Path) -> SoftFileLease:
    lock = SoftFileLease(
        folder / LOCK,
        lease_duration=_LEASE_SECONDS,
        heartbeat_interval=_BEAT_SECONDS,
        thread_local=False,
    )
    began, first, told = time.monotonic(), 0, False

    def is_alive() -> bool:
        # On another machine, or in another container, nothing but its touches tells whether a
        # process lives.
        nonlocal first, told
        with suppress(FileNotFoundError):
            touched = (folder / LOCK).lstat().st_mtime_ns
            first = first or touched
            if not told and time.monotonic() - began > 5 * _BEAT_SECONDS:
                _log.warning(
                    "%s has locked %s: waiting up to %g s for a sign of life",
                    _holder(folder, lock),
                    folder,
                    _LEASE_SECONDS,
                )
                told = True
            return touched != first
        return False

    try:
        # One that died on this machine is passed over at once, one elsewhere when the lease is
        # over.
        lock.acquire(
            timeout=_LEASE_SECONDS + 10 * _BEAT_SECONDS,
            poll_interval=_BEAT_SECONDS / 10,
            cancel_check=is_alive,
        )
    except Timeout:
        raise UserError(
            f"{_holder(folder, lock)} writes in {folder}; wait until it has ended, or name another "
            f"folder ({folder / LOCK} is its lock)"
        ) from None
    return lock


def _about_this_process() -> dict[str, str | int]:
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": datetime.now(UTC).isoformat(" ", "seconds"),
    }


def _holder(folder: Path, lock: SoftFileLease) -> str:
    """Return the name of the process that holds a lock."""
    owner = lock.owner
    if not owner:
        return "another process"
    with suppress(OSError, ValueError, KeyError, TypeError):
        about = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        if about["process"] == owner.pid:
            return f"process {owner.pid} on {about['host']}, since {about['since']},"
    return f"process {owner.pid} on {owner.hostname}"
