"""Documents -> shards: cut by size, annotated in worker processes, written whole or not at all."""

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ernie_cmtl.atomic_files import write_array, write_folder, write_text
from ernie_cmtl.corpus.build.digests import DIGEST_BYTES, split_hash, text_digest
from ernie_cmtl.corpus.build.executor import Processes, annotate_texts
from ernie_cmtl.corpus.read.sources import Numbered, SourceInput
from ernie_cmtl.corpus.store.manifest import Extent, Shard
from ernie_cmtl.corpus.tokens.titles import TITLES
from ernie_cmtl.records import AnnotatedText, Array, Document, Rejection
from ernie_cmtl.redaction import redactor

_BATCH_BYTES = 1 << 20
_MOST_REJECTS = 100_000
"""Rejections that one shard may hold, so that memory stays bounded where nothing can be used."""


@dataclass
class ShardText:
    """What one shard is made of, before annotation."""

    name: str
    source: str
    first: int
    read: int = 0
    duplicates: int = 0
    repaired: int = 0
    size: int = 0
    """UTF-8 bytes of its documents."""
    documents: list[tuple[SourceInput, Document]] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    rejected: list[tuple[SourceInput, Rejection]] = field(default_factory=list)

    def add(
        self, item: SourceInput, document: Document | Rejection, is_used: Callable[[bytes], bool]
    ) -> None:
        """Take the next document that was read."""
        self.read += 1
        if isinstance(document, Rejection):
            self.rejected.append((item, document))
            return
        digest = text_digest(document.text)
        if not is_used(digest):
            self.duplicates += 1
            return
        self.repaired += document.repaired
        self.documents.append((item, document))
        self.digests.append(digest)
        self.size += document.size


def cut_shards(
    documents: Iterable[Numbered], is_used: Callable[[int, bytes], bool], limit: int, first: int
) -> Iterator[ShardText]:
    """Gather documents into shards of one source and about `limit` bytes; where a shard ends
    follows from the text alone.

    is_used: tells from number and digest whether a document is the first with its text; first:
    number of the first shard.
    """
    shard: ShardText | None = None
    made = 0
    for number, item, document in documents:
        full = shard and (
            shard.size >= limit
            or len(shard.rejected) >= _MOST_REJECTS
            or shard.source != item.source
        )
        if shard and full:
            yield shard
        if not shard or full:
            shard, made = ShardText(shard_name(first + made), item.source, number), made + 1
        shard.add(item, document, partial(is_used, number))
    if shard:
        yield shard


def annotated_shards(
    shards: Iterable[ShardText], workers: Processes, report: Callable[[int, int], None]
) -> Iterator[tuple[ShardText, list[AnnotatedText]]]:
    """Annotate shards in order; report: takes the bytes and documents that are done."""
    collected: deque[AnnotatedText] = deque()
    size = count = 0
    for (shard, _, last), answers in workers.map_with_input(
        annotate_texts, _batches(shards), lambda item: item[1]
    ):
        collected.extend(answers)
        size += sum(
            document.size
            for _, document in shard.documents[len(collected) - len(answers) : len(collected)]
        )
        count += len(answers)
        report(size, count)
        if last:
            yield shard, list(collected)
            collected.clear()


def _batches(shards: Iterable[ShardText]) -> Iterator[tuple[ShardText, list[str], bool]]:
    """Yield each shard's texts in pieces of about a megabyte, at least one a shard, and whether it
    is the shard's last.
    """
    for shard in shards:
        batch: list[str] = []
        size = 0
        for _, document in shard.documents:
            if size >= _BATCH_BYTES:
                yield shard, batch, False
                batch, size = [], 0
            batch.append(document.text)
            size += document.size
        yield shard, batch, True


def shard_arrays(
    text: ShardText,
    annotated: Sequence[AnnotatedText],
    heldout_below: int,
    token_type: npt.DTypeLike,
    titles: Array | None = None,
) -> tuple[Shard, dict[str, Array]]:
    """Return the record and the arrays of a shard; a document without a token becomes a rejection
    of `text`.

    titles: a row for each document of `text`, where titles are kept.
    """
    kept: dict[bool, list[int]] = {False: [], True: []}
    size = text.size
    for place, ((item, document), digest, tokens) in enumerate(
        zip(text.documents, text.digests, annotated, strict=True)
    ):
        if len(tokens.token_ids):
            kept[split_hash(digest) < heldout_below].append(place)
        else:
            text.rejected.append((item, Rejection(document.identifier, "no_tokens")))
            text.repaired -= document.repaired
            size -= document.size
    shard = Shard(
        name=text.name,
        source=text.source,
        first=text.first,
        read=text.read,
        duplicates=text.duplicates,
        repaired=text.repaired,
        rejections=dict(
            sorted(Counter(rejection.reason for _, rejection in text.rejected).items())
        ),
        bytes=size,
        train=_extent([annotated[place] for place in kept[False]]),
        heldout=_extent([annotated[place] for place in kept[True]]),
        hashes={},
    )
    order = kept[False] + kept[True]
    if not order:
        return shard, {}
    arrays = _arrays(
        [annotated[place] for place in order], [text.digests[place] for place in order], token_type
    )
    if titles is not None:
        arrays[TITLES] = titles[order]
    return shard, arrays


def _extent(texts: Sequence[AnnotatedText]) -> Extent:
    return Extent(
        documents=len(texts),
        sentences=sum(text.sentences for text in texts),
        tokens=sum(len(text.token_ids) for text in texts),
    )


def _arrays(
    texts: Sequence[AnnotatedText], digests: Sequence[bytes], token_type: npt.DTypeLike
) -> dict[str, Array]:
    lengths = np.concatenate([np.diff(text.sentence_offsets) for text in texts])
    arrays: dict[str, Array] = {
        "token_ids": np.concatenate([text.token_ids for text in texts]).astype(token_type),
        "sentence_offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "document_offsets": np.cumsum([0] + [text.sentences for text in texts]).astype(np.int64),
        "digests": np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, DIGEST_BYTES),
    }
    for layer in texts[0].layers:
        arrays[layer] = np.concatenate([text.layers[layer] for text in texts])
    return arrays


def write_shard(
    folder: Path,
    shard: Shard,
    arrays: Mapping[str, Array],
    rejected: Sequence[tuple[SourceInput, Rejection]],
) -> None:
    """Write a shard with its record and the log of its rejections; the record gets the hashes of
    the arrays.
    """

    def fill(partial: Path) -> None:
        shard.hashes = {
            name: write_array(partial / f"{name}.npy", array) for name, array in arrays.items()
        }
        hide = redactor()
        rows = (
            json.dumps(_log_row(item, rejection, hide), ensure_ascii=False) + "\n"
            for item, rejection in rejected
        )
        write_text(partial / "rejects.jsonl", "".join(rows))
        write_text(partial / "shard.json", shard.model_dump_json(indent=1))

    write_folder(folder / shard.name, fill)


def _log_row(item: SourceInput, rejection: Rejection, hide: Callable[[str], str]) -> dict[str, Any]:
    place = {"source": item.source, "file": item.input.label, "document": rejection.identifier}
    return {**place, "reason": rejection.reason, "detail": hide(rejection.detail)}


def finished_shards(folder: Path, first: int) -> list[Shard]:
    """Return the shards from number `first` on that were written whole, up to the first that is
    missing.
    """
    found: list[Shard] = []
    while (path := folder / shard_name(first + len(found)) / "shard.json").is_file():
        found.append(Shard.model_validate_json(path.read_bytes()))
    return found


def shard_name(number: int) -> str:
    """Return the name of a shard."""
    return f"{number:05d}"
