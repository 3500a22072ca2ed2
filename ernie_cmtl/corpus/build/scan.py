"""First reading of the text: which documents are duplicates, which are held out, which the
tokenizer is trained on.
"""

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from ernie_cmtl.corpus.build.digests import sample_hash, split_hash, text_digest
from ernie_cmtl.corpus.build.held_out import HeldoutRule
from ernie_cmtl.corpus.build.seen_texts import SeenTexts
from ernie_cmtl.corpus.read.lost_files import Trouble, is_doubtful, lost_files
from ernie_cmtl.corpus.read.reader_config import ReaderConfig
from ernie_cmtl.corpus.read.sources import (
    SourceInput,
    foreign_encodings,
    numbered_documents,
    with_encodings,
)
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Document, Rejection

_FEWEST = 100
"""Documents of a source that are needed to judge it by its rejections."""


@dataclass
class TextSample:
    """The texts with the smallest hashes that fit a size together; the same ones in whatever order
    they come.
    """

    limit: int
    """Bytes."""
    _heap: list[tuple[int, str, int, int, str]] = field(default_factory=list)
    _size: int = 0

    def add(self, document: Document, digest: bytes, source: str) -> None:
        """Offer a text."""
        heapq.heappush(
            self._heap,
            (-sample_hash(digest), document.text, document.size, split_hash(digest), source),
        )
        self._size += document.size
        while self._size > self.limit and len(self._heap) > 1:
            self._size -= heapq.heappop(self._heap)[2]

    def texts(self, heldout_below: Mapping[str, int]) -> list[str]:
        """Return the texts of the training split, in the order of their hashes."""
        rows = sorted(self._heap, reverse=True)
        return [text for _, text, _, split, source in rows if split >= heldout_below[source]]


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
    encodings: dict[str, str] = {}
    """Label of a file that is not UTF-8 -> what it was read in."""


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
        return ", ".join(
            f"{reason}: {count}{self._example(reason)}"
            for reason, count in self.reasons.most_common()
        )

    def _example(self, reason: str) -> str:
        example = self.examples[reason]
        return f", as {example.identifier}: {example.detail}" if example.detail else ""


@dataclass
class _Counts:
    """What was read so far."""

    documents: list[int]
    """Of each input."""
    rejected: dict[str, _Rejected]
    """Of each source."""
    troubles: dict[int, Trouble] = field(default_factory=dict)
    """Of the inputs that have any, by their place."""
    used: int = 0
    bytes: int = 0
    titled: int = 0
    duplicates: int = 0


def scan(
    inputs: list[SourceInput],
    config: ReaderConfig,
    first: int,
    seen: SeenTexts,
    rules: dict[str, HeldoutRule],
    sample: TextSample | None,
) -> Scan:
    """Read everything once.

    first: running number of the first document; rules: of each source; sample: collects what the
    tokenizer is trained on.

    Raises:
        UserError: The encoding of a file cannot be told, not one document can be used, too many of
            a source cannot, a file is lost whole, or not one document has the title that was asked
            for.
    """
    inputs = with_encodings(inputs, config)
    places = {item: place for place, item in enumerate(inputs)}
    counts = _Counts([0] * len(inputs), {item.source: _Rejected() for item in inputs})
    for number, item, document in numbered_documents(inputs, [], config, first, first):
        place = places[item]
        counts.documents[place] += 1
        if isinstance(document, Rejection) or is_doubtful(document):
            counts.troubles.setdefault(place, Trouble()).add(document)
        if isinstance(document, Rejection):
            counts.rejected[item.source].add(document)
            continue
        digest = text_digest(document.text)
        if not seen.add(digest, number):
            counts.duplicates += 1
            continue
        counts.used += 1
        counts.bytes += document.size
        counts.titled += bool(document.title)
        rules[item.source].add(digest)
        if sample:
            sample.add(document, digest, item.source)
    _check(counts, inputs, config)
    below = {name: rule.below for name, rule in rules.items()}
    return Scan(
        documents=counts.documents,
        used=counts.used,
        bytes=counts.bytes,
        heldout_below=below,
        encodings=foreign_encodings(inputs),
    )


def _check(counts: _Counts, inputs: list[SourceInput], config: ReaderConfig) -> None:
    """Refuse text that a corpus cannot be made of; raises as `scan` does."""
    lost = (
        lost_files(inputs, counts.documents, counts.troubles)
        if config.lost_files == "strict"
        else ""
    )
    if not counts.used:
        shown = [f"duplicate: {counts.duplicates}"] if counts.duplicates else []
        shown += [found.describe() for found in counts.rejected.values() if found.count]
        looks = f"; {lost}" if lost else ""
        raise UserError(
            f"no usable document in {len(inputs)} input(s) "
            f"({', '.join(shown) or 'nothing was read'}){looks}"
        )
    if lost:
        raise UserError(
            f"{lost}, or set reader.lost_files=skip to reject their documents and use the rest"
        )
    for source, found in counts.rejected.items():
        read = sum(
            count
            for item, count in zip(inputs, counts.documents, strict=True)
            if item.source == source
        )
        if read >= _FEWEST and found.count > config.maximum_reject_rate * read:
            raise UserError(
                f"source {source}: {found.count} of {read} documents cannot be used "
                f"({found.describe()}), more than "
                f"reader.maximum_reject_rate={config.maximum_reject_rate:g} allows"
            )
    if config.title_field and not counts.titled:
        raise UserError(
            f"no document has a title: reader.title_field={config.title_field} names no key or "
            "column with text"
        )
