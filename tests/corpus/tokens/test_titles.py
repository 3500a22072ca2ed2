"""Titles stand beside the text: read from every format, one row for each document, and the text is
as it would be without.
"""

import csv
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from ernie_cmtl.corpus.build import pipeline, shards
from ernie_cmtl.corpus.build.prepare_config import PrepareConfig
from ernie_cmtl.corpus.build.progress import Progress
from ernie_cmtl.corpus.build.request import added_to
from ernie_cmtl.corpus.read.documents import read_documents
from ernie_cmtl.corpus.read.inputs import find_inputs
from ernie_cmtl.corpus.read.reader_config import ReaderConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.store.manifest import SPLITS
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Document
from tests.support.corpora import make_corpus, quiet, sample_texts

READER: dict[str, Any] = {"title_field": "name"}
SETTINGS: dict[str, Any] = {"reader": READER, "shard_bytes": 20_000}
Row = dict[str, Any]


def write_rows(path: Path, rows: list[Row]) -> Path:
    """Write rows as the ending says: a folder is a dataset that was saved to disk."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == "":
        datasets.Dataset.from_list(rows).save_to_disk(path)
    else:
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(
                stream, columns, delimiter="," if path.suffix == ".csv" else "\t"
            )
            writer.writeheader()
            writer.writerows(rows)
    return path


def titles_of(corpus: Corpus) -> dict[str, str]:
    """Text -> title, as both were tokenized."""
    found = {}
    for split in map(corpus.split, SPLITS):
        for number in range(split.documents):
            text = split.passage(*split.document_tokens[number : number + 2].tolist(), ())
            row = split.document_layer("titles", number)
            assert row.shape == (24,)
            filled = int((row > 0).sum())
            assert not row[filled:].any()
            found[corpus.tokenizer.decode(text.token_ids)] = corpus.tokenizer.decode(
                row[:filled].tolist()
            )
    return found


def expected(corpus: Corpus, rows: list[Row]) -> dict[str, str]:
    """The same by the tokenizer's own way, from the rows."""

    def through(text: str, most: int | None = None) -> str:
        return str(
            corpus.tokenizer.decode(
                corpus.tokenizer(text, add_special_tokens=False)["input_ids"][:most]
            )
        )

    return {through(row["text"]): through(row.get("name") or "", 24) for row in rows}


def rows_with_titles(count: int = 24) -> list[Row]:
    """Two of three documents have a title; one of them is longer than a row."""
    rows: list[Row] = [
        {"text": text, "name": f"About matter {number}"}
        for number, text in enumerate(sample_texts("en", count))
    ]
    rows[1]["name"] = "a title that goes on " * 20
    for row in rows[2::3]:
        row["name"] = ""
    return rows


def build(folder: Path, rows: list[Row], words: list[str] | None = None, **settings: Any) -> Path:
    source = write_rows(folder / "text.jsonl", rows)
    make_corpus([str(source), *(words or [])], folder / "corpus", **(SETTINGS | settings))
    return folder / "corpus"


def arrays(corpus: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(corpus)): path.read_bytes()
        for path in sorted((corpus / "shards").rglob("*.npy"))
    }


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "t.tsv", "t.parquet", "saved"])
def test_every_format_gives_text_and_title_apart(tmp_path: Path, name: str) -> None:
    rows = [{"text": "First words.", "name": " On words "}, {"text": "More of them.", "name": ""}]
    path = write_rows(tmp_path / name, rows)
    word = str(path) if path.is_file() else f"datasets:{path}"
    (source,) = find_inputs([word])
    with_titles = list(read_documents(source, ReaderConfig(title_field="name")))
    assert with_titles == [
        Document(f"{name}#{number}", row["text"], len(row["text"]), row["name"].strip())
        for number, row in enumerate(
            rows, start=1 if name in ("t.jsonl", "t.parquet", "saved") else 2
        )
    ]
    for other in (ReaderConfig(), ReaderConfig(title_field="absent")):
        assert [
            document.title
            for document in read_documents(source, other)
            if isinstance(document, Document)
        ] == ["", ""]


def test_a_row_may_lack_its_title_or_have_none_that_is_text(tmp_path: Path) -> None:
    rows = [
        {"text": "a"},
        {"text": "b", "name": None},
        {"text": "c", "name": 7},
        {"text": "", "name": "d"},
    ]
    path = write_rows(
        tmp_path / "t.jsonl",
        [*rows, {"text": "e", "name": "\ud800"}, {"text": "x " * 1500, "name": "Long"}],
    )
    (source,) = find_inputs([str(path)])
    found = list(read_documents(source, ReaderConfig(title_field="name", maximum_characters=2000)))
    assert [item.title if isinstance(item, Document) else item.reason for item in found] == [
        *("", "", "", "empty", "lone_surrogate"),
        *("Long", "Long"),
    ]


def test_each_document_has_the_row_of_its_title(tmp_path: Path) -> None:
    rows = rows_with_titles()
    corpus = Corpus(build(tmp_path, rows))
    found = titles_of(corpus)
    assert found == expected(corpus, rows)
    assert sum(bool(title) for title in found.values()) == 16
    assert "titles" in corpus.profile.layers
    assert len(corpus.manifest.shards) > 2


def test_the_text_is_what_it_is_without_titles(tmp_path: Path) -> None:
    titled, bare = tmp_path / "titled", tmp_path / "bare"
    titled.mkdir()
    bare.mkdir()
    layers: dict[str, Any] = {"capitalized_names": {}, "document_counts": {}}
    found = arrays(build(titled, rows_with_titles(), layers=layers))
    assert {key: value for key, value in found.items() if not key.endswith("titles.npy")} == arrays(
        build(bare, rows_with_titles(), layers=layers, reader={})
    )
    assert "titles" not in Corpus(bare / "corpus").profile.layers


def test_a_source_without_titles_has_empty_rows(tmp_path: Path) -> None:
    rows = rows_with_titles()
    bare = [{"text": row["text"]} for row in rows[12:]]
    other = write_rows(tmp_path / "other.csv", bare)
    corpus = Corpus(build(tmp_path, rows[:12], [f"bare={other}"]))
    assert titles_of(corpus) == expected(corpus, [*rows[:12], *bare])


def test_documents_are_duplicates_by_their_text_and_the_first_title_stays(tmp_path: Path) -> None:
    rows = rows_with_titles(8)
    again = [row | {"name": "Another title"} for row in rows]
    corpus = Corpus(build(tmp_path, [*rows, *again]))
    assert corpus.manifest.documents["duplicates"] == 8
    assert titles_of(corpus) == expected(corpus, rows)


def test_a_title_field_that_names_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"no "
        r"document "
        r"has "
        r"a "
        r"title: "
        r"reader\.title_field=titel "
        r"names "
        r"no "
        r"key "
        r"or "
        r"column "
        r"with "
        r"text",
    ):
        build(tmp_path, rows_with_titles(8), reader={"title_field": "titel"})
    assert not (tmp_path / "corpus").exists()


def test_a_build_that_was_broken_off_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build(tmp_path, rows_with_titles())
    words = [str(tmp_path / "text.jsonl")]
    monkeypatch.setattr(shards, "_BATCH_BYTES", 4000)

    def power_cut(progress: Progress) -> None:
        if progress.stage == "annotation" and progress.documents > 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_corpus(words, tmp_path / "again", report=power_cut, **SETTINGS)
    assert list((tmp_path / "again" / "shards").glob("*/titles.npy"))
    make_corpus(words, tmp_path / "again", processes=2, **SETTINGS)
    assert arrays(tmp_path / "again") == arrays(whole)
    assert Corpus(tmp_path / "again").manifest.fingerprint == Corpus(whole).manifest.fingerprint


def add(corpus: Path, *words: str | Path, **settings: Any) -> None:
    pipeline.build(
        added_to([str(word) for word in words], corpus, PrepareConfig.model_validate(settings)),
        1,
        quiet,
    )


def test_added_text_has_titles_where_they_are_asked_for_and_empty_rows_elsewhere(
    tmp_path: Path,
) -> None:
    rows = rows_with_titles(36)
    folder = build(tmp_path, rows[:12])
    before = arrays(folder)
    add(folder, write_rows(tmp_path / "more.jsonl", rows[12:24]), reader=READER)
    add(folder, write_rows(tmp_path / "bare.jsonl", rows[24:]))
    after, corpus = arrays(folder), Corpus(folder)
    assert {name: after[name] for name in before} == before
    unnamed = [{"text": row["text"]} for row in rows[24:]]
    assert titles_of(corpus) == expected(corpus, [*rows[:24], *unnamed])


def test_layers_that_are_added_to_a_corpus_with_titles_equal_those_that_were_built(
    tmp_path: Path,
) -> None:
    later, at_once = tmp_path / "later", tmp_path / "at_once"
    later.mkdir()
    at_once.mkdir()
    both: dict[str, Any] = {"capitalized_names": {}, "retrieved": {}}
    folder = build(later, rows_with_titles(), layers={})
    add(folder, layers=both)
    assert arrays(folder) == arrays(build(at_once, rows_with_titles(), layers=both))


def test_titles_cannot_be_added_to_a_corpus_without(tmp_path: Path) -> None:
    folder = build(tmp_path, rows_with_titles(8), reader={})
    more = write_rows(tmp_path / "more.jsonl", rows_with_titles(12)[8:])
    with pytest.raises(
        UserError, match=r"was prepared without titles: reader\.title_field cannot be set"
    ):
        add(folder, more, reader=READER)


def test_titles_are_verified_and_pinned_where_they_are_read(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    rows = rows_with_titles(8)
    folder = build(one, rows)
    changed = Corpus(build(other, [row | {"name": "Same words"} for row in rows])).manifest
    manifest = Corpus(folder).manifest
    assert manifest.fingerprint != changed.fingerprint
    assert manifest.pin(["titles"], []) != changed.pin(["titles"], [])
    assert manifest.pin([], []) == changed.pin([], [])
    path = folder / "shards" / "00000" / "titles.npy"
    np.save(path, np.zeros_like(np.load(path)))
    with pytest.raises(UserError, match=r"damaged: shards/00000/titles\.npy was changed"):
        Corpus(folder).split("train")


def test_labelled_rows_have_no_titles(tmp_path: Path) -> None:
    pairs = [
        {"left": text, "right": text[::-1], "same": number % 2}
        for number, text in enumerate(sample_texts("en", 12))
    ]
    kinds = {"left": "text", "right": "text", "same": "class"}
    table = {"pairs": {"file": str(write_rows(tmp_path / "pairs.jsonl", pairs)), "columns": kinds}}
    corpus = Corpus(build(tmp_path, rows_with_titles(8), labelled=table))
    assert "titles" not in corpus.profile.tables["pairs"].layers
    assert corpus.text("train", "pairs").documents > 0
