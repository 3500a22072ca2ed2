"""What `prepare` reports of a corpus."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ernie_cmtl.corpus.store.manifest import LabelledTable, Manifest
from ernie_cmtl.corpus.tokens.tokenizer import TokenizerConfig
from ernie_cmtl.records import Language

_SCRIPT: Mapping[Language, str] = {"en": "Latin", "zh": "Han"}


def summary(
    manifest: Manifest, folder: Path, seconds: Mapping[str, float], warn_unknown_rate: float
) -> dict[str, Any]:
    """Return the counts, sizes, seconds per step and fingerprint of a corpus, with warnings of text
    that does not fit it.

    warn_unknown_rate: a source with a larger part of unknown tokens is warned of.
    """
    sources = {name: _source(manifest, name) for name in manifest.sources}
    return {
        "documents": manifest.documents,
        "rejections": manifest.rejections,
        "skipped": dict(
            sum((Counter(addition.skipped) for addition in manifest.additions), Counter())
        ),
        "encodings": {
            file: name
            for addition in manifest.additions
            for file, name in addition.encodings.items()
        },
        "sentences": manifest.count("sentences"),
        "tokens": manifest.count("tokens"),
        "bytes": manifest.bytes,
        "sources": sources,
        "warnings": _warnings(sources, manifest.language, warn_unknown_rate),
        "vocabulary_size": manifest.vocabulary_size,
        "layers": manifest.layers,
        "labelled": {name: _table_summary(table) for name, table in manifest.labelled.items()},
        "seconds": round(sum(seconds.values()), 3),
        "seconds_by_stage": {name: round(value, 3) for name, value in seconds.items()},
        "fingerprint": manifest.fingerprint,
        "corpus": str(folder),
    }


def small_vocabulary(size: int, config: TokenizerConfig) -> list[str]:
    """Say of a trained vocabulary that it is smaller than asked for, and why."""
    if config.name_or_path is not None or size >= config.vocabulary_size:
        return []
    return [
        f"the vocabulary has {size:,} entries, not {config.vocabulary_size:,} "
        "(tokenizer.vocabulary_size): no other piece occurs in the text at least "
        f"{config.minimum_frequency} times (tokenizer.minimum_frequency); more text gives more"
    ]


def _source(manifest: Manifest, name: str) -> dict[str, Any]:
    weight = manifest.mixture[name] if manifest.mixture else None
    # Shards of earlier versions do not say what they are written in.
    counted = [
        shard for shard in manifest.shards if shard.source == name and shard.scripts is not None
    ]
    tokens = sum(shard.train.tokens + shard.heldout.tokens for shard in counted)
    letters = sum((Counter(shard.scripts) for shard in counted), Counter())
    return {
        "documents": manifest.count("documents", None, name),
        "tokens": manifest.count("tokens", None, name),
        "unknown_rate": sum(shard.unknown_tokens or 0 for shard in counted) / tokens
        if tokens
        else None,
        "scripts": {script: count / letters.total() for script, count in letters.most_common()},
        "mixture": weight,
    }


def _warnings(
    sources: Mapping[str, Mapping[str, Any]], language: Language, warn_unknown_rate: float
) -> list[str]:
    found = []
    for name, source in sources.items():
        rate, script = source["unknown_rate"], next(iter(source["scripts"]), None)
        if rate is not None and rate > warn_unknown_rate:
            found.append(
                f"source {name}: {rate:.2%} of its tokens are unknown to the vocabulary, more than "
                f"warn_unknown_rate={warn_unknown_rate:g}; the tokenizer does not fit the text"
            )
        if script and script != _SCRIPT[language]:
            share, expected = source["scripts"][script], _SCRIPT[language]
            found.append(
                f"source {name}: {share:.0%} of its letters are {script}; language {language} is "
                f"written in {expected}"
            )
    return found


def _table_summary(table: LabelledTable) -> dict[str, Any]:
    columns = {
        name: column.kind + (f" ({len(column.classes)})" if column.classes else "")
        for name, column in table.columns.items()
    }
    return {"rows": table.rows, "columns": columns}
