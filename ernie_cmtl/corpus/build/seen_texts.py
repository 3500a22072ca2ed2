"""Which texts were read already."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from ernie_cmtl.atomic_files import sync

ALREADY_THERE = -1


class SeenTexts:
    """Digest -> number of the first document with it, in a database on disk, so that memory does
    not grow with the corpus.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS seen (digest BLOB PRIMARY KEY, number INTEGER) WITHOUT "
            "ROWID"
        )
        self._database.execute("BEGIN")

    def add(self, digest: bytes, number: int) -> bool:
        """Note a document; tell whether its text is new."""
        return (
            self._database.execute(
                "INSERT OR IGNORE INTO seen VALUES (?, ?)", (digest, number)
            ).rowcount
            == 1
        )

    def add_known(self, digests: Iterable[bytes]) -> None:
        """Note texts that the corpus holds already."""
        self._database.executemany(
            "INSERT OR IGNORE INTO seen VALUES (?, ?)", ((d, ALREADY_THERE) for d in digests)
        )

    def first(self, digest: bytes) -> int | None:
        """Return the number of the first document with a text."""
        found = self._database.execute(
            "SELECT number FROM seen WHERE digest = ?", (digest,)
        ).fetchone()
        return None if found is None else int(found[0])

    def save(self) -> None:
        """Make what was noted last beyond this process."""
        self._database.execute("COMMIT")
        sync(self._path)

    def close(self) -> None:
        """Close the database."""
        self._database.close()
