"""First reading of the text: which documents are duplicates, which are held out, which the tokenizer is trained on.

A document is known by the digest of its text: every choice here is a function of the text alone, not of file or process.
"""

import hashlib
import heapq
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ernie_cmtl.corpus.lost_files import Trouble, is_doubtful, lost_files
from ernie_cmtl.corpus.readers import ReaderConfig
from ernie_cmtl.corpus.sources import SourceInput, numbered_documents
from ernie_cmtl.errors import UserError
from ernie_cmtl.files import sync
from ernie_cmtl.records import Document, Rejection

_HASHES = 1 << 64
_FEWEST = 100
"""Documents of a source that are needed to judge it by its rejections."""
DIGEST_BYTES = 16
ALREADY_THERE = -1


def split_hash(digest: bytes) -> int:
    """Return the number whose order decides which documents are held out."""
    return int.from_bytes(digest[:8], "little")


def sample_hash(digest: bytes) -> int:
    """Return the number whose order decides which documents the tokenizer is trained on."""
    return int.from_bytes(digest[8:], "little")


def text_digest(text: str) -> bytes:
    """Return the 16 bytes that a text is known by."""
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()


class SeenTexts:
    """Digest -> number of the first document with it, in a database on disk, so that memory does not grow with the corpus."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute("CREATE TABLE IF NOT EXISTS seen (digest BLOB PRIMARY KEY, number INTEGER) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def add(self, digest: bytes, number: int) -> bool:
        """Note a document; tell whether its text is new."""
        return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (digest, number)).rowcount == 1

    def add_known(self, digests: Iterable[bytes]) -> None:
        """Note texts that the corpus holds already."""
        self._database.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", ((d, ALREADY_THERE) for d in digests))

    def first(self, digest: bytes) -> int | None:
        """Return the number of the first document with a text."""
        found = self._database.execute("SELECT number FROM seen WHERE digest = ?", (digest,)).fetchone()
        return None if found is None else int(found[0])

    def save(self) -> None:
        """Make what was noted last beyond this process."""
        self._database.execute("COMMIT")
        sync(self._path)

    def close(self) -> None:
        """Close the database."""
        self._database.close()


@dataclass
class TextSample:
    """The texts with the smallest hashes that fit a size together; the same ones in whatever order they come."""

    limit: int
    """Bytes."""
    _heap: list[tuple[int, str, int, int, str]] = field(default_factory=list)
    _size: int = 0

    def add(self, document: Document, digest: bytes, source: str) -> None:
        """Offer a text."""
        heapq.heappush(self._heap, (-sample_hash(digest), document.text, document.size, split_hash(digest), source))
        self._size += document.size
        while self._size > self.limit and len(self._heap) > 1:
            self._size -= heapq.heappop(self._heap)[2]

    def texts(self, heldout_below: Mapping[str, int]) -> list[str]:
        """Return the texts of the training split, in the order of their hashes."""
        rows = sorted(self._heap, reverse=True)
        return [text for _, text, _, split, source in rows if split >= heldout_below[source]]


@dataclass
class HeldoutRule:
    """Which documents of one source are held out: those with the smallest split hashes."""

    fraction: float
    minimum: int
    used: int = 0
    _below_fraction: int = 0
    _smallest: list[int] = field(default_factory=list)

    def add(self, digest: bytes) -> None:
        """Count a document."""
        found = split_hash(digest)
        self.used += 1
        self._below_fraction += found < int(self.fraction * _HASHES)
        heapq.heappush(self._smallest, -found)
        if len(self._smallest) > self.minimum:
            heapq.heappop(self._smallest)

    @property
    def below(self) -> int:
        """Documents whose split hash is below are held out."""
        # A small source still holds something out, but never more than a quarter.
        wanted = min(self.minimum, self.used // 4)
        below = sorted(-found for found in self._smallest)[wanted - 1] + 1 if wanted else 0
        return max(below, int(self.fraction * _HASHES)) if self._below_fraction <= self.used // 4 else below


class Scan(BaseModel):
    """What the first reading found."""

    model_config = ConfigDict(extra="forbid")

    documents: list[int]
    """Documents read from each input."""
    used: int
    """Documents that are neither rejected nor duplicates."""
    bytes: int
    """Their size in UTF-8."""
    heldout_below: dict[str, int]
    """Source -> documents with a smaller split hash are held out."""


@dataclass
class _Rejected:
    """What was rejected of a source: how much for each reason, and an example of each."""

    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, Rejection] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return self.reasons.total()

    def add(self, rejection: Rejection) -> None:
        self.reasons[rejection.reason] += 1
        self.examples.setdefault(rejection.reason, rejection)

    def describe(self) -> str:
        return ", ".join(f"{reason}: {count}{self._example(reason)}" for reason, count in self.reasons.most_common())

    def _example(self, reason: str) -> str:
        example = self.examples[reason]
        return f", as {example.identifier}: {example.detail}" if example.detail else ""


def scan(
    inputs: list[SourceInput],
    config: ReaderConfig,
    first: int,
    seen: SeenTexts,
    rules: dict[str, HeldoutRule],
    sample: TextSample | None,
) -> Scan:
    """Read everything once.

    first: running number of the first document; rules: of each source; sample: collects what the tokenizer is trained on.

    Raises:
        UserError: Not one document can be used, too many of a source cannot, a file is lost whole, or not one document has the
            title that was asked for.
    """
    places = {item: place for place, item in enumerate(inputs)}
    documents = [0] * len(inputs)
    used = size = titled = duplicates = 0
    rejected = {item.source: _Rejected() for item in inputs}
    troubles: dict[int, Trouble] = {}
    for number, item, document in numbered_documents(inputs, [], config, first, first):
        documents[places[item]] += 1
        if isinstance(document, Rejection) or is_doubtful(document):
            troubles.setdefault(places[item], Trouble()).add(document)
        if isinstance(document, Rejection):
            rejected[item.source].add(document)
            continue
        digest = text_digest(document.text)
        if not seen.add(digest, number):
            duplicates += 1
            continue
        used, size, titled = used + 1, size + document.size, titled + bool(document.title)
        rules[item.source].add(digest)
        if sample:
            sample.add(document, digest, item.source)
    lost = lost_files(inputs, documents, troubles) if config.lost_files == "strict" else ""
    if not used:
        shown = [f"duplicate: {duplicates}"] if duplicates else []
        shown += [found.describe() for found in rejected.values() if found.count]
        looks = f"; {lost}" if lost else ""
        raise UserError(f"no usable document in {len(inputs)} input(s) ({', '.join(shown) or 'nothing was read'}){looks}")
    if lost:
        raise UserError(f"{lost}, or set reader.lost_files=skip to reject their documents and use the rest")
    for source, found in rejected.items():
        read = sum(count for item, count in zip(inputs, documents, strict=True) if item.source == source)
        if read >= _FEWEST and found.count > config.maximum_reject_rate * read:
            raise UserError(
                f"source {source}: {found.count} of {read} documents cannot be used ({found.describe()}), more than "
                f"reader.maximum_reject_rate={config.maximum_reject_rate:g} allows"
            )
    if config.title_field and not titled:
        raise UserError(f"no document has a title: reader.title_field={config.title_field} names no key or column with text")
    return Scan(documents=documents, used=used, bytes=size, heldout_below={name: rule.below for name, rule in rules.items()})
