"""Which texts were read already."""

import errno
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ernie_cmtl.atomic_files import sync
from ernie_cmtl.errors import UserError

ALREADY_THERE = -1
_ERRORS = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_IOERR: errno.EIO,
}
"""Codes of the database -> those of the system."""


class SeenTexts:
    """Digest -> number of the first document with it, in a database on disk, so that memory does
    not grow with the corpus.

    Every method raises OSError where the disk refuses, and UserError where the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._on_disk():
            self._database = sqlite3.connect(path, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=OFF")
            self._database.execute("PRAGMA synchronous=OFF")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS seen (digest BLOB PRIMARY KEY, number INTEGER) WITHOUT "
                "ROWID"
            )
            self._database.execute("BEGIN")

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            # Extended codes have the basic one in their lowest byte.
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code in _ERRORS:
                raise OSError(_ERRORS[code], str(error), str(self._path)) from error
            raise UserError(
                f"{self._path} is damaged: {error}; run the command again with --restart"
            ) from error

    def add(self, digest: bytes, number: int) -> bool:
        """Note a document; tell whether its text is new."""
        with self._on_disk():
            found = self._database.execute(
                "INSERT OR IGNORE INTO seen VALUES (?, ?)", (digest, number)
            )
            return found.rowcount == 1

    def add_known(self, digests: Iterable[bytes]) -> None:
        """Note texts that the corpus holds already."""
        with self._on_disk():
            self._database.executemany(
                "INSERT OR IGNORE INTO seen VALUES (?, ?)", ((d, ALREADY_THERE) for d in digests)
            )

    def first(self, digest: bytes) -> int | None:
        """Return the number of the first document with a text."""
        with self._on_disk():
            found = self._database.execute(
                "SELECT number FROM seen WHERE digest = ?", (digest,)
            ).fetchone()
        return None if found is None else int(found[0])

    def save(self) -> None:
        """Make what was noted last beyond this process."""
        with self._on_disk():
            self._database.execute("COMMIT")
        sync(self._path)

    def close(self) -> None:
        """Close the database."""
        self._database.close()
