"""Builds that are broken off, and what a folder holds."""

from pathlib import Path
from typing import Any

import pytest

from ernie_cmtl.corpus.build import shards
from ernie_cmtl.corpus.build.progress import Progress
from tests.support.corpora import make_corpus, sample_texts, write_jsonl

SETTINGS: dict[str, Any] = {"shard_bytes": 5000}


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def sources(folder: Path) -> list[str]:
    """Two sources with rejected rows, duplicates and a file that is compressed."""
    folder.mkdir(exist_ok=True)
    texts = sample_texts("en", 24)
    first = write_jsonl(folder / "first.jsonl", [*texts[:14], texts[0], " "])
    with first.open("a", encoding="utf-8") as stream:
        stream.write("{broken\n")
    write_jsonl(folder / "second.jsonl", [texts[3], *texts[14:]])
    return [f"docs={folder / 'second.jsonl'}", f"code={first}"]


class PowerCutError(Exception):
    """Stands for whatever ends a process."""


def break_off(
    words: list[str],
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    documents: int = 9,
    **settings: Any,
) -> None:
    """Begin a build and end it once so many documents are annotated."""
    monkeypatch.setattr(shards, "_BATCH_BYTES", 4000)

    def power_cut(progress: Progress) -> None:
        if progress.stage == "annotation" and progress.documents > documents:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        make_corpus(words, output, report=power_cut, **(SETTINGS | settings))
