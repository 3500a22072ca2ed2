"""What a run reads of a corpus, part by part: a pin says that something differs, this says what."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ernie_cmtl.corpus.store.manifest import STRUCTURE, Manifest, digest


def content_of(manifest: Manifest, layers: Iterable[str], tables: Iterable[str]) -> dict[str, Any]:
    """Return the parts of a corpus that `Manifest.pin` covers, as JSON holds them: a hash for the
    vocabulary, the text, each layer and each table; the mixture and the number of shards as they
    are.
    """

    def of_arrays(*names: str) -> str:
        return digest([[shard.name, *map(shard.hashes.get, names)] for shard in manifest.shards])

    return {
        "vocabulary": manifest.vocabulary_hash,
        "mixture": manifest.mixture,
        "shards": len(manifest.shards),
        "text": of_arrays(*STRUCTURE),
        "layers": {name: of_arrays(name) for name in layers},
        "tables": {name: digest(manifest.labelled[name].hashes) for name in tables},
    }


def changed_content(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Say what differs between two results of `content_of`; nothing where all is the same."""
    return ", ".join(_changes(before, after))


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    if before["vocabulary"] != after["vocabulary"]:
        yield "another vocabulary"
    if before["mixture"] != after["mixture"]:
        yield f"another mixture ({before['mixture']}, now {after['mixture']})"
    same_text = before["text"] == after["text"]
    if not same_text:
        yield f"other text ({before['shards']} shards, now {after['shards']})"
    # The layers of another text differ with it; only their names tell anything.
    yield from _named("layer", before["layers"], after["layers"], same_text)
    yield from _named("table", before["tables"], after["tables"], True)


def _named(
    kind: str, before: Mapping[str, str], after: Mapping[str, str], by_value: bool
) -> Iterator[str]:
    for name in sorted({*before, *after}):
        if name not in before:
            yield f"{kind} {name} was not read then"
        elif name not in after:
            yield f"{kind} {name} is not read any more"
        elif by_value and before[name] != after[name]:
            yield f"{kind} {name} has other values"
