"""Files in another encoding than UTF-8 are read exactly as what they are, or named; never as
something else.
"""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pydantic import ValidationError

from ernie_cmtl.corpus.build.pipeline import build
from ernie_cmtl.corpus.build.prepare_config import PrepareConfig
from ernie_cmtl.corpus.build.request import added_to
from ernie_cmtl.corpus.read.documents import read_documents
from ernie_cmtl.corpus.read.encodings import ENCODINGS, accepted_encoding
from ernie_cmtl.corpus.read.inputs import FileInput
from ernie_cmtl.corpus.read.reader_config import ReaderConfig
from ernie_cmtl.corpus.read.sources import find_sources, numbered_documents, with_encodings
from ernie_cmtl.corpus.read.tables import read_rows
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Document, Rejection
from tests.support.command_line import mistake, squeezed
from tests.support.corpora import make_corpus, quiet, sample_texts

TRADITIONAL = (
    "這是一個測試文件，內容是繁體中文。我們希望檢測能夠正確地識別編碼。"
    "今天的天氣很好，人們去公園散步。"
)
FRENCH = "L'été dernier, nous avons visité plusieurs châteaux près de la Loire. Ça m'a plu à midi."
CHINESE = [text.replace("\n", " ") for text in sample_texts("zh", 20)]
TEXTS: dict[str, list[str]] = {
    "gbk": CHINESE,
    "gb18030": [f"𠀀{text}" for text in CHINESE],
    "big5": [f"{number} {TRADITIONAL}" for number in range(20)],
    "utf-16": CHINESE,
    "utf-16-le": CHINESE,
    "utf-16-be": CHINESE,
    "cp1252": [f"{number} {FRENCH}" for number in range(20)],
    "latin-1": [f"{number} {FRENCH}" for number in range(20)],
}
"""Encoding -> twenty documents."""


def body(ending: str, texts: list[str]) -> str:
    """A file of a kind, as text."""
    if ending.startswith(".txt"):
        return "\n\n".join(texts)
    if ending.startswith(".jsonl"):
        return "".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in texts)
    if ending.startswith(".tsv"):
        return "n\ttext\n" + "".join(f"1\t{text}\n" for text in texts)
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([("n", "text"), *((1, text) for text in texts)])
    return stream.getvalue()


def packed(data: bytes, ending: str) -> bytes:
    if ending.endswith(".gz"):
        return gzip.compress(data)
    return pyarrow.compress(data, codec="zstd", asbytes=True) if ending.endswith("zst") else data


def folder_of(folder: Path, encoding: str, ending: str) -> Path:
    """Twenty documents in an encoding, beside one file in UTF-8 and an empty one."""
    folder.mkdir()
    data = body(ending, TEXTS[encoding]).encode(encoding)
    (folder / f"foreign{ending}").write_bytes(packed(data, ending))
    (folder / "plain.jsonl").write_bytes(body(".jsonl", CHINESE[:3]).encode())
    (folder / "zero.txt").write_bytes(b"")
    return folder


def read(folder: Path, **settings: Any) -> list[str]:
    """Texts of all documents of a folder, or the reasons of rejections."""
    config = ReaderConfig(text_documents="blank_line", **settings)
    inputs = with_encodings(find_sources([str(folder)]), config)
    found = [item for _, _, item in numbered_documents(inputs, [], config, 0, 0)]
    return [item.text if isinstance(item, Document) else item.reason for item in found]


@pytest.mark.parametrize("encoding", TEXTS)
@pytest.mark.parametrize("ending", [".txt", ".jsonl", ".csv", ".tsv", ".tsv.gz", ".txt.zst"])
def test_each_encoding_is_read_exactly_where_it_is_named_and_never_as_another(
    tmp_path: Path, encoding: str, ending: str
) -> None:
    folder = folder_of(tmp_path / "in", encoding, ending)
    exact = [text.strip() for text in [*TEXTS[encoding], *CHINESE[:3]]]
    assert read(folder, encoding=encoding) == exact
    assert read(folder, source_encodings={"text": encoding}) == exact
    if encoding in ("cp1252", "latin-1"):
        # Encodings of one byte for a character cannot be told from each other for sure.
        with pytest.raises(
            UserError, match=rf"foreign\{ending}: its encoding cannot be told.*CP1252.* or "
        ):
            read(folder, encoding="auto")
    else:
        assert read(folder, encoding="auto") == exact
    for other in ("gb18030", "big5", "utf-16-le", "utf-16-be", "cp1252"):
        try:
            found = read(folder, encoding=other)
        except UserError as error:
            found = [str(error)]
        texts = {*exact, "invalid_bytes", "malformed_csv"}
        assert set(found) <= texts or f"foreign{ending}" in found[0]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".csv.gz"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "gbk"])
def test_a_header_that_cannot_be_read_is_named_with_the_encoding(
    tmp_path: Path, encoding: str, ending: str
) -> None:
    path = tmp_path / f"a{ending}"
    data = body(ending, CHINESE).replace("text", "正文", 1).encode(encoding)
    path.write_bytes(packed(data, ending))
    name = {"gbk": "GB18030"}.get(encoding, encoding.upper().replace("-LE", "LE"))
    name = name.replace("-BE", "BE")
    said = rf"a\{ending}.*by its bytes, .* in {name}: "
    with pytest.raises(UserError, match=rf"{said}read with reader.encoding={name}, or convert"):
        list(read_documents(FileInput(path), ReaderConfig(text_field="正文")))
    with pytest.raises(UserError, match=rf"{said}convert it with iconv -f {name} -t UTF-8"):
        list(read_rows(path, ["正文"]))


def test_bytes_that_are_not_of_the_encoding_cost_their_document_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good, bad, last = (line + "\n" for line in body(".jsonl", CHINESE[:3]).splitlines())
    damaged = bad.encode("gbk").replace(b'"}', b'\xff"}')
    path.write_bytes(good.encode("gbk") + damaged + last.encode("gbk"))
    config = ReaderConfig(encoding="gbk")
    kept, rejected, next_one = read_documents(FileInput(path), config)
    assert isinstance(kept, Document)
    assert isinstance(next_one, Document)
    assert [kept.text, next_one.text] == [CHINESE[0].strip(), CHINESE[2].strip()]
    assert rejected == Rejection("a.jsonl#2", "invalid_bytes", "bytes that are not gbk")
    _, repaired, _ = read_documents(FileInput(path), ReaderConfig(encoding="gbk", errors="repair"))
    assert isinstance(repaired, Document)
    assert (repaired.text, repaired.repaired) == (CHINESE[1].strip() + "\ufffd", True)
    # A guess is only good where it holds for all of a file.
    with pytest.raises(UserError, match="its encoding cannot be told for sure; "):
        list(read_documents(FileInput(path), ReaderConfig(encoding="auto")))


def test_utf_8_that_is_damaged_is_utf_8_whatever_encoding_is_set(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(body(".jsonl", CHINESE[:2]).encode().replace(b'"}', b'\xff"}', 1))
    for encoding in ("auto", "gbk", "cp1252"):
        first, second = read_documents(FileInput(path), ReaderConfig(encoding=encoding))
        assert isinstance(first, Rejection)
        assert first.reason == "invalid_utf8"
        assert isinstance(second, Document)
        assert second.text == CHINESE[1].strip()


def test_utf_16_without_a_mark_says_nothing_of_its_order(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(CHINESE[0].encode("utf-16-be"))
    with pytest.raises(UserError, match=r"no byte order mark.*utf-16-le or utf-16-be does"):
        read(tmp_path, encoding="utf-16")


@pytest.mark.parametrize("text", ["中文", "caf\xe9", "短文本。" * 10])
def test_a_few_characters_are_no_sure_sign_of_an_encoding(tmp_path: Path, text: str) -> None:
    encoding = "cp1252" if "caf" in text else "gbk"
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    with pytest.raises(UserError, match=r"1 of 1 files cannot be read: .*a.txt: its encoding"):
        read(tmp_path, encoding="auto")
    assert read(tmp_path, encoding=encoding) == [text]
    assert read(tmp_path, encoding="auto", lost_files="skip") == ["invalid_utf8"]


def test_names_are_those_of_python_or_an_error_with_the_accepted_ones(tmp_path: Path) -> None:
    assert [accepted_encoding(name) for name in ENCODINGS] == list(ENCODINGS)
    assert accepted_encoding("GB2312") == "gb2312"
    assert accepted_encoding("Windows-1252") == "cp1252"
    assert accepted_encoding("latin-1") == "iso8859-1"
    for name in ("foo", "rot13", "base64", "hz", "utf-7", "cp037", "idna", ""):
        with pytest.raises(ValidationError, match=r"accepted: auto, utf-8, gb18030"):
            ReaderConfig(encoding=name)
    said = mistake(
        *("prepare", "--input", tmp_path, "--output", tmp_path / "c", "--language", "zh"),
        "reader.encoding=gbkk",
    )
    assert (
        squeezed("reader.encoding: unknown encoding 'gbkk'; accepted: auto, utf-8, gb18030") in said
    )


def test_the_build_says_what_was_read_in_which_encoding_and_what_was_not(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", "gbk", ".txt")
    (folder / ".hidden.txt").write_bytes(b"hidden")
    (folder / "notes.md").write_bytes(b"notes")
    plain = tmp_path / "plain"
    plain.mkdir()
    for path in folder.glob("[fpz]*"):
        text = path.read_bytes().decode("gbk" if "foreign" in path.name else "utf-8")
        (plain / path.name).write_text(text, encoding="utf-8")
    settings: dict[str, Any] = {"layers": {"document_counts": {}}}
    reader = {"text_documents": "blank_line"}
    result = make_corpus(
        [str(folder)], tmp_path / "a", "zh", reader=reader | {"encoding": "auto"}, **settings
    )
    same = make_corpus([str(plain)], tmp_path / "b", "zh", reader=reader, **settings)
    assert result["fingerprint"] == same["fingerprint"]
    assert result["encodings"] == {str(folder / "foreign.txt"): "gb18030"}
    assert same["encodings"] == {}
    assert result["skipped"] == {".md": 1, "hidden": 1}
    (addition,) = Corpus(tmp_path / "a").manifest.additions
    assert addition.encodings == result["encodings"]
    assert addition.skipped == result["skipped"]
    # A layer of raw text reads the files again.
    config = PrepareConfig.model_validate({"layers": {"tagged_names": {}}})
    added = build(added_to([], tmp_path / "a", config), 1, quiet)
    assert "tagged_names" in added["layers"]


def test_an_encoding_for_a_source_that_is_not_read_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", "gbk", ".txt")
    with pytest.raises(UserError, match=r"reader.source_encodings names wiki; sources that are"):
        make_corpus([str(folder)], tmp_path / "c", reader={"source_encodings": {"wiki": "gbk"}})
