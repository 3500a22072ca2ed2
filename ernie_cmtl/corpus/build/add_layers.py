"""Layers of spans for text that stands in a corpus already: the text is read again from where it
came, and compared.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from ernie_cmtl.atomic_files import file_hash, read_array, write_array
from ernie_cmtl.corpus.build.executor import Processes
from ernie_cmtl.corpus.build.shards import ShardText, annotated_shards, shard_arrays
from ernie_cmtl.corpus.read.inputs import find_inputs
from ernie_cmtl.corpus.read.reader_config import ReaderConfig
from ernie_cmtl.corpus.read.sources import SourceInput, numbered_documents, with_known_encodings
from ernie_cmtl.corpus.store.manifest import Addition, Manifest, Shard
from ernie_cmtl.errors import UserError


def add_text_layers(
    folder: Path,
    manifest: Manifest,
    layers: Sequence[str],
    workers: Processes,
    report: Callable[[int, int], None],
) -> None:
    """Write layers that the workers find in raw text for every shard of a corpus, and note their
    hashes in the manifest.

    Raises:
        UserError: The text is not where it was, or is not the same.
    """
    waiting: list[Shard] = []
    for shard in manifest.shards:
        paths = {name: folder / "shards" / shard.name / f"{name}.npy" for name in layers}
        if shard.hashes and not all(path.exists() for path in paths.values()):
            waiting.append(shard)
        elif shard.hashes:
            shard.hashes |= {name: file_hash(path) for name, path in paths.items()}
    by_name = {shard.name: shard for shard in waiting}
    for text, annotated in annotated_shards(
        _read_again(folder, manifest, waiting), workers, report
    ):
        shard = by_name[text.name]
        stored = folder / "shards" / shard.name
        _, arrays = shard_arrays(text, annotated, manifest.heldout_below[shard.source], np.uint32)
        for name in ("digests", "token_ids"):
            if not arrays or not np.array_equal(arrays[name], read_array(stored / f"{name}.npy")):
                raise UserError(
                    f"the text of shard {shard.name} (source {shard.source}) is not what it was "
                    "when it was prepared"
                )
        shard.hashes |= {name: write_array(stored / f"{name}.npy", arrays[name]) for name in layers}


def _read_again(folder: Path, manifest: Manifest, waiting: Sequence[Shard]) -> Iterator[ShardText]:
    """Gather the documents of shards from the inputs that they came from."""
    edges = [addition.first_shard for addition in manifest.additions] + [len(manifest.shards)]
    for addition, (first, last) in zip(manifest.additions, pairwise(edges), strict=True):
        wanted = [shard for shard in manifest.shards[first:last] if shard in waiting]
        if wanted:
            yield from _shards_of(folder, addition, manifest.shards[first].first, wanted)


def _shards_of(
    folder: Path, addition: Addition, first: int, wanted: Sequence[Shard]
) -> Iterator[ShardText]:
    inputs = [
        SourceInput(source, item)
        for source, label in addition.inputs
        for item in find_inputs([label])
    ]
    inputs = with_known_encodings(inputs, addition.encodings)
    config = ReaderConfig.model_validate(addition.reader)
    documents = numbered_documents(inputs, addition.documents, config, first, wanted[0].first)
    for shard in wanted:
        known = {bytes(row) for row in read_array(folder / "shards" / shard.name / "digests.npy")}
        text = ShardText(shard.name, shard.source, shard.first)
        for number, item, document in documents:
            if number >= shard.first:
                text.add(item, document, partial(_take, known))
            if number + 1 == shard.first + shard.read:
                break
        yield text


def _take(known: set[bytes], digest: bytes) -> bool:
    """Tell whether a text is among those of the shard, and not there a second time."""
    found = digest in known
    known.discard(digest)
    return found
