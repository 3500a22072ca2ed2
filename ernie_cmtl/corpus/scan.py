"""First reading of the text: which documents are duplicates, which are held out, which the tokenizer is trained on.

A document is known by the digest of its text: every choice here is a function of the text alone, not of file or process.
"""

import hashlib
import heapq
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ernie_cmtl.corpus.readers import Input, ReaderConfig, read_documents
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Document, Rejection

_HASHES = 1 << 64


def split_hash(digest: bytes) -> int:
    """Return the number whose order decides which documents are held out."""
    return int.from_bytes(digest[:8], "little")


def sample_hash(digest: bytes) -> int:
    """Return the number whose order decides which documents the tokenizer is trained on."""
    return int.from_bytes(digest[8:], "little")


def text_digest(text: str) -> bytes:
    """Return the 16 bytes that a text is known by."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


class SeenTexts:
    """Digest -> number of the first document with it, in a database on disk, so that memory does not grow with the corpus."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY, number INTEGER) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def add(self, digest: bytes, number: int) -> bool:
        """Note a document; tell whether its text is new."""
        return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (digest, number)).rowcount == 1

    def is_first(self, digest: bytes, number: int) -> bool:
        """Tell whether this document is the first with its text."""
        found = self._database.execute("SELECT number FROM seen WHERE digest = ?", (digest,)).fetchone()
        return found is not None and found[0] == number

    def close(self) -> None:
        """Close the database."""
        self._database.close()


@dataclass
class TextSample:
    """The texts with the smallest hashes that fit a size together; the same ones in whatever order they come."""

    limit: int
    """Bytes."""
    _heap: list[tuple[int, str, int, int]] = field(default_factory=list)
    _size: int = 0

    def add(self, document: Document, digest: bytes) -> None:
        """Offer a text."""
        heapq.heappush(self._heap, (-sample_hash(digest), document.text, document.size, split_hash(digest)))
        self._size += document.size
        while self._size > self.limit and len(self._heap) > 1:
            self._size -= heapq.heappop(self._heap)[2]

    def texts(self, heldout_below: int) -> list[str]:
        """Return the texts of the training split, in the order of their hashes."""
        return [text for _, text, _, split in sorted(self._heap, reverse=True) if split >= heldout_below]


@dataclass
class Scan:
    """What the first reading found."""

    inputs: list[Input]
    stamps: list[tuple[int, ...]]
    """What tells whether an input was changed."""
    bytes: int
    """UTF-8 bytes of the documents that are neither rejected nor duplicates."""
    documents: int
    heldout_below: int
    """Documents whose split hash is below are held out."""
    sample: TextSample | None


def numbered_documents(inputs: Sequence[Input], config: ReaderConfig) -> Iterator[tuple[int, Input, Document | Rejection]]:
    """Yield all documents and rejections of the inputs with their running number."""
    number = 0
    for source in inputs:
        for item in read_documents(source, config):
            yield number, source, item
            number += 1


def scan(
    inputs: list[Input],
    config: ReaderConfig,
    seen: SeenTexts,
    heldout_fraction: float,
    heldout_minimum: int,
    sample_bytes: int | None,
) -> Scan:
    """Read everything once.

    Raises:
        UserError: Not one document can be used.
    """
    stamps = [source.stamp() for source in inputs]
    sample = TextSample(sample_bytes) if sample_bytes else None
    smallest: list[int] = []
    used = size = below_fraction = 0
    fraction_hash = int(heldout_fraction * _HASHES)
    reasons: dict[str, int] = {}
    for number, _, item in numbered_documents(inputs, config):
        if isinstance(item, Rejection):
            reasons[item.reason] = reasons.get(item.reason, 0) + 1
            continue
        digest = text_digest(item.text)
        if not seen.add(digest, number):
            continue
        used, size = used + 1, size + item.size
        below_fraction += split_hash(digest) < fraction_hash
        heapq.heappush(smallest, -split_hash(digest))
        if len(smallest) > heldout_minimum:
            heapq.heappop(smallest)
        if sample:
            sample.add(item, digest)
    if not used:
        counts = ", ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items())) or "nothing was read"
        raise UserError(f"no usable document in {len(inputs)} file(s) or dataset(s) ({counts})")
    # A small corpus still holds something out, but never more than a quarter.
    wanted = min(heldout_minimum, used // 4)
    below = sorted(-h for h in smallest)[wanted - 1] + 1 if wanted else 0
    if below_fraction <= used // 4:
        below = max(below, fraction_hash)
    return Scan(inputs, stamps, size, used, below, sample)
