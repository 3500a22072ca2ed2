"""Names of files that are not UTF-8 pass through a build, its records and what is added later."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ernie_cmtl.corpus.build.pipeline import build
from ernie_cmtl.corpus.build.prepare_config import PrepareConfig
from ernie_cmtl.corpus.build.request import added_to
from ernie_cmtl.corpus.store.corpus import Corpus
from tests.support.builds import break_off
from tests.support.corpora import make_corpus, quiet, sample_texts, write_jsonl


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files and a folder whose names hold a byte that is no UTF-8."""
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xff"))
    try:
        place.mkdir()
    except OSError:
        pytest.skip("the file system takes no such name")
    texts = sample_texts("zh", 16)
    with write_jsonl(place / os.fsdecode(b"a\xe9\\x.jsonl"), texts[:8]).open("a") as stream:
        stream.write("{broken\n")
    content = "\n\n".join(text.replace("\n", " ") for text in texts[8:]).encode("gbk")
    (place / os.fsdecode(b"b\xe9.txt.gz")).write_bytes(gzip.compress(content))
    (place / os.fsdecode(b"names\xe9.txt")).write_text("今天\n")
    rows = "".join(f"question {number} x\t{number % 2}\n" for number in range(40))
    (place / os.fsdecode(b"rows\xe9.tsv")).write_text(f"q\tc\n{rows}")
    return place


def words(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.iterdir()) if path.name[0] in "ab"]


def settings(folder: Path) -> dict[str, Any]:
    file = str(folder / os.fsdecode(b"rows\xe9.tsv"))
    return {
        "reader": {"encoding": "auto", "text_documents": "blank_line"},
        "labelled": {"pairs": {"file": file, "columns": {"q": "text", "c": "class"}}},
    }


def test_they_stand_in_manifest_and_reject_log_as_they_are(folder: Path, tmp_path: Path) -> None:
    given = words(folder)
    result = make_corpus(given, tmp_path / "corpus", "zh", **settings(folder))
    assert result["documents"]["used"] == 16
    assert result["encodings"] == {given[1]: "gb18030"}
    manifest = Corpus(tmp_path / "corpus").manifest
    assert manifest.additions[0].inputs == [("text", name) for name in given]
    assert manifest.additions[0].encodings == {given[1]: "gb18030"}
    assert manifest.fingerprint == result["fingerprint"]
    log = (tmp_path / "corpus" / "rejects.jsonl").read_text("utf-8")
    (row,) = [json.loads(line) for line in log.splitlines()]
    assert row["file"] == given[0]
    assert row["document"] == f"{Path(given[0]).name}#9"
    # What they name is found again.
    layers = {"gazetteer": {"files": [str(folder / os.fsdecode(b"names\xe9.txt"))]}}
    config = PrepareConfig.model_validate({"layers": layers})
    added = build(added_to([], tmp_path / "corpus", config), 1, quiet)
    assert "gazetteer" in added["layers"]


def test_a_build_that_was_broken_off_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, options = words(folder), settings(folder)
    with pytest.MonkeyPatch.context() as patched:
        break_off(
            given, tmp_path / "corpus", patched, 3, language="zh", shard_bytes=1000, **options
        )
    assert (tmp_path / "corpus" / "building").is_dir()
    again = make_corpus(given, tmp_path / "corpus", "zh", shard_bytes=1000, **options)
    whole = make_corpus(given, tmp_path / "whole", "zh", shard_bytes=1000, **options)
    assert again["fingerprint"] == whole["fingerprint"]
    assert "tokenizer" not in again["seconds_by_stage"]
