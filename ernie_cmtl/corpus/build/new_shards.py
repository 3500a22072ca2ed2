"""The second step of a build: annotate the text in worker processes, and write it a shard at a
time.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import numpy.typing as npt

from ernie_cmtl.corpus.build.executor import Processes
from ernie_cmtl.corpus.build.scan import Scan
from ernie_cmtl.corpus.build.seen_texts import SeenTexts
from ernie_cmtl.corpus.build.shards import (
    annotated_shards,
    cut_shards,
    finished_shards,
    shard_arrays,
    write_shard,
)
from ernie_cmtl.corpus.build.steps import Build
from ernie_cmtl.corpus.read.sources import Numbered, numbered_documents, with_known_encodings
from ernie_cmtl.corpus.store.manifest import Shard
from ernie_cmtl.corpus.tokens.scripts import letters_by_script
from ernie_cmtl.corpus.tokens.titles import title_rows
from ernie_cmtl.corpus.tokens.tokenizer import raw_text_tokenizer
from ernie_cmtl.errors import UserError


def new_shards(
    build: Build, found: Scan, token_type: npt.DTypeLike, unknown_id: int | None, workers: Processes
) -> list[Shard]:
    """Annotate the text that is not in a finished shard yet, and return all shards of it."""
    request = build.request
    folder = build.folder / "shards"
    tokenizer = raw_text_tokenizer(build.folder / "tokenizer") if request.keeps_titles else None
    before = len(build.base_shards)
    shards = finished_shards(folder, before)
    start = shards[-1].first + shards[-1].read if shards else request.first_document
    end = request.first_document + sum(found.documents)
    seen = SeenTexts(request.state / "seen.sqlite")
    done_bytes = sum(shard.bytes for shard in shards)
    with build.step("annotation", found.bytes):
        documents = numbered_documents(
            with_known_encodings(request.inputs, found.encodings),
            found.documents,
            request.config.reader,
            request.first_document,
            start,
        )
        counted = _counted(documents, build, end)
        cut = cut_shards(
            counted,
            partial(_is_first, build, seen),
            request.config.shard_bytes,
            before + len(shards),
        )
        news = lambda size, count: build.tell("annotation", found.bytes, done_bytes + size, count)  # noqa: E731
        for text, annotated in annotated_shards(cut, workers, news):
            titles = (
                title_rows(
                    [document.title for _, document in text.documents], tokenizer, token_type
                )
                if tokenizer
                else None
            )
            shard, arrays = shard_arrays(
                text, annotated, found.heldout_below[text.source], token_type, titles
            )
            if arrays:
                # No token equals None, the number that a tokenizer without an unknown token gives.
                shard.unknown_tokens = int(np.count_nonzero(arrays["token_ids"] == unknown_id))
                used = zip(text.documents, annotated, strict=True)
                shard.scripts = letters_by_script(
                    document.text for (_, document), tokens in used if len(tokens.token_ids)
                )
            write_shard(folder, shard, arrays, text.rejected)
            shards.append(shard)
    seen.close()
    return shards


def _is_first(build: Build, seen: SeenTexts, number: int, digest: bytes) -> bool:
    first = seen.first(digest)
    if first is None:
        raise build.changed() or UserError(
            "a document is not the one that was scanned; start again with --restart"
        )
    return first == number


def _counted(documents: Iterator[Numbered], build: Build, end: int) -> Iterator[Numbered]:
    """Pass documents on; raises where they are not as many as were scanned."""
    last = None
    for row in documents:
        last = row[0]
        yield row
    if last is not None and last + 1 != end:
        raise build.changed() or UserError(
            f"{end} documents were scanned, {last + 1} read; start again with --restart"
        )
