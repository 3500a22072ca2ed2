"""What `prepare` reports of a corpus."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ernie_cmtl.corpus.manifest import LabelledTable, Manifest


def summary(manifest: Manifest, folder: Path, seconds: Mapping[str, float]) -> dict[str, Any]:
    """Return the counts, sizes, seconds per step and fingerprint of a corpus."""
    return {
        "documents": manifest.documents,
        "rejections": manifest.rejections,
        "sentences": manifest.count("sentences"),
        "tokens": manifest.count("tokens"),
        "bytes": manifest.bytes,
        "sources": {name: _source(manifest, name) for name in manifest.sources},
        "vocabulary_size": manifest.vocabulary_size,
        "layers": manifest.layers,
        "labelled": {name: _table_summary(table) for name, table in manifest.labelled.items()},
        "seconds": round(sum(seconds.values()), 3),
        "seconds_by_stage": {name: round(value, 3) for name, value in seconds.items()},
        "fingerprint": manifest.fingerprint,
        "corpus": str(folder),
    }


def _source(manifest: Manifest, name: str) -> dict[str, Any]:
    weight = manifest.mixture[name] if manifest.mixture else None
    return {
        "documents": manifest.count("documents", None, name),
        "tokens": manifest.count("tokens", None, name),
        "mixture": weight,
    }


def _table_summary(table: LabelledTable) -> dict[str, Any]:
    columns = {
        name: column.kind + (f" ({len(column.classes)})" if column.classes else "") for name, column in table.columns.items()
    }
    return {"rows": table.rows, "columns": columns}
