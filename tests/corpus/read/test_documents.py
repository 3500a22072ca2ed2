"""Readers: what becomes a document, what is rejected and why, and that memory stays bounded."""

import gzip
import hashlib
import json
import os
import tracemalloc
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from ernie_cmtl.corpus.read.documents import read_documents
from ernie_cmtl.corpus.read.inputs import FileInput, describe_skipped, find_inputs
from ernie_cmtl.corpus.read.reader_config import ReaderConfig
from ernie_cmtl.corpus.read.tables import read_rows
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Document, Rejection


def read(path: Path, data: bytes, **config: Any) -> list[Document | Rejection]:
    path.write_bytes(data)
    return list(read_documents(FileInput(path), ReaderConfig(**config)))


def texts(items: list[Document | Rejection]) -> list[str]:
    return [item.text for item in items if isinstance(item, Document)]


def reasons(items: list[Document | Rejection]) -> dict[str, str]:
    """Identifier -> `ok` or the reason of the rejection."""
    return {item.identifier: item.reason if isinstance(item, Rejection) else "ok" for item in items}


def ink(text: str) -> str:
    """All that is not white space."""
    return "".join(text.split())


def rows(*texts: str) -> bytes:
    return b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


# Finding files


def test_files_folders_and_globs_are_found_sorted_and_once(tmp_path: Path) -> None:
    named = tmp_path / "z.jsonl"
    folder = [
        tmp_path / "data" / name
        for name in ("b.txt", "a.jsonl.gz", "deep/er/c.txt.gz", "deep/d.jsonl")
    ]
    globbed = [tmp_path / "more" / name for name in ("1.txt", "2.txt")]
    touch(
        named,
        *folder,
        *globbed,
        tmp_path / "data" / "notes.md",
        tmp_path / "more" / "3.jsonl",
        tmp_path / "more" / "x.doc",
    )
    found = find_inputs(
        [
            str(named),
            str(tmp_path / "data"),
            str(tmp_path / "more" / "*.txt"),
            str(globbed[0]),
            str(tmp_path / "data"),
        ]
    )
    assert [source.path for source in found] == sorted([named, *folder, *globbed])


def test_a_recursive_glob_reaches_deeper_folders(tmp_path: Path) -> None:
    wanted = [tmp_path / "a" / "x.txt", tmp_path / "a" / "b" / "y.txt"]
    touch(*wanted, tmp_path / "a" / "z.jsonl")
    assert [source.path for source in find_inputs([str(tmp_path / "**" / "*.txt")])] == sorted(
        wanted
    )


def test_a_link_is_read_by_the_ending_of_its_own_name(tmp_path: Path) -> None:
    """Download caches keep the content under a bare hash and link to it by its name."""
    blob = tmp_path / "blobs" / "5f3a"
    touch(blob)
    blob.write_bytes(gzip.compress(rows("first", "second")))
    link = tmp_path / "snapshot" / "rows.jsonl.gz"
    link.parent.mkdir()
    link.symlink_to(blob)
    (file,) = find_inputs([str(link.parent)])
    assert texts(list(read_documents(file, ReaderConfig()))) == ["first", "second"]


def test_endings_are_read_in_capitals_too(tmp_path: Path) -> None:
    data = {
        "a.TXT": b"one",
        "b.JSONL": rows("two"),
        "c.Csv": b"text\nthree\n",
        "d.TSV.GZ": gzip.compress(b"text\nfour\n"),
        "e.jsonl.Gz": gzip.compress(rows("five")),
        "f.TXT.ZST": pyarrow.compress(b"six", codec="zstd", asbytes=True),
    }
    for name, content in data.items():
        (tmp_path / name).write_bytes(content)
    parquet.write_table(pyarrow.table({"text": ["seven"]}), tmp_path / "g.PARQUET")
    skipped: Counter[str] = Counter()
    found = find_inputs([str(tmp_path)], skipped)
    items = [item for file in found for item in read_documents(file, ReaderConfig())]
    assert texts(items) == ["one", "two", "three", "four", "five", "six", "seven"]
    assert not skipped
    assert find_inputs([f"{tmp_path}/*"]) == found
    assert find_inputs([str(file.path) for file in found if isinstance(file, FileInput)]) == found
    assert list(read_rows(tmp_path / "d.TSV.GZ", None)) == [(2, {"text": "four"})]


def test_what_is_passed_over_in_a_folder_is_counted(tmp_path: Path) -> None:
    touch(
        tmp_path / "in" / "a.txt",
        *(tmp_path / "in" / name for name in ("x.md", "Y.MD", "z.pdf", "old.tar.gz", "README")),
        *(tmp_path / "in" / name for name in (".hidden.txt", "._a.txt", ".DS_Store")),
        *(tmp_path / "in" / folder / "a.txt" for folder in (".git", "deep/.ipynb_checkpoints")),
        tmp_path / "in" / "deep" / "b.txt",
        tmp_path / "else" / "c.txt",
        tmp_path / "in" / ("x." + "long" * 9),
    )
    (tmp_path / "in" / "link").symlink_to(tmp_path / "else")
    (tmp_path / "in" / "dangling.txt").symlink_to(tmp_path / "absent.txt")
    skipped: Counter[str] = Counter()
    found = find_inputs([str(tmp_path / "in")], skipped)
    assert [source.name for source in found] == ["a.txt", "b.txt"]
    counts = {".md": 2, ".pdf": 1, ".tar.gz": 1, "no ending": 2, "hidden": 5, "no file": 2}
    assert skipped == counts
    assert describe_skipped(skipped) == (
        "with other endings 6 (.md 2, no ending 2, .pdf 1, .tar.gz 1), hidden 5, no files but "
        "links to folders, pipes or the like 2"
    )
    # What is named is read, wherever it lies.
    hidden = tmp_path / "in" / ".git"
    assert [source.name for source in find_inputs([str(hidden)])] == ["a.txt"]
    assert len(find_inputs([str(hidden / "a.txt"), str(tmp_path / "in" / "._a.txt")])) == 2
    skipped.clear()
    assert len(find_inputs([f"{tmp_path}/in/*"], skipped)) == 1
    assert skipped == {".md": 2, ".pdf": 1, ".tar.gz": 1, "no ending": 2, "no file": 3}


def test_a_folder_without_text_says_what_it_holds(tmp_path: Path) -> None:
    touch(tmp_path / "a.md", tmp_path / ".b.txt")
    with pytest.raises(UserError, match=r"passed over: with other endings 1 \(.md 1\), hidden 1"):
        find_inputs([str(tmp_path)])


def test_endings_without_number_are_counted_together(tmp_path: Path) -> None:
    touch(tmp_path / "a.txt", *(tmp_path / f"a.{number}" for number in range(80)))
    skipped: Counter[str] = Counter()
    find_inputs([str(tmp_path)], skipped)
    assert skipped.total() == 80
    assert skipped["others"] > 20


def test_a_folder_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "a.txt", tmp_path / "closed" / "b.txt")
    scandir = os.scandir

    def closed(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(UserError, match=r"cannot read folder .*closed: Permission denied"):
        find_inputs([str(tmp_path)])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.txt", "missing.txt"),
        ("missing*.txt", r"missing\*.txt"),
        ("empty", "empty"),
        ("table.xlsx", r"table.xlsx.*\.jsonl\.gz"),
    ],
)
def test_a_path_without_text_is_the_users_mistake_and_is_named(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    touch(tmp_path / "table.xlsx", tmp_path / "good.txt")
    with pytest.raises(UserError, match=message):
        find_inputs([str(tmp_path / "good.txt"), str(tmp_path / name)])


# Documents


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("file", {"": "One\nline.\n \t\n\nTwo é中😀\nlines.\n\nThree"}),
        ("blank_line", {"#2": "One\nline.", "#6": "Two é中😀\nlines.", "#9": "Three"}),
    ],
)
def test_a_text_file_is_one_document_or_one_per_block(
    tmp_path: Path, ending: str, mode: str, expected: dict[str, str]
) -> None:
    data = "\nOne\nline.\n \t\n\nTwo é中😀\nlines.\n\nThree\n".encode()
    path = tmp_path / f"a.txt{ending}"
    items = read(path, gzip.compress(data) if ending else data, text_documents=mode)
    assert items == [
        Document(path.name + key, text, len(text.encode())) for key, text in expected.items()
    ]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_each_line_of_jsonl_is_a_document_named_by_its_line(tmp_path: Path, ending: str) -> None:
    lines = [
        '{"body": " first\\u00e9 \\n", "text": "no"}',
        "",
        '{"id": 7, "body": "第二\\ud83d\\ude00"}',
        '{"body": "third"}',
    ]
    data = "\n".join(lines).encode()
    path = tmp_path / f"a.jsonl{ending}"
    items = read(path, gzip.compress(data) if ending else data, text_field="body")
    expected = {"#1": "firsté", "#3": "第二😀", "#4": "third"}
    assert items == [
        Document(path.name + key, text, len(text.encode())) for key, text in expected.items()
    ]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.txt", "two\r\nlines\r\n".encode("utf-8-sig")),
        ("a.jsonl", b"\xef\xbb\xbf" + rows("two\r\nlines")),
    ],
)
def test_byte_order_mark_and_carriage_returns_are_no_text(
    tmp_path: Path, name: str, data: bytes
) -> None:
    assert texts(read(tmp_path / name, data)) == ["two\nlines"]


def test_only_the_last_ending_of_a_name_counts(tmp_path: Path) -> None:
    assert texts(read(tmp_path / "notes.jsonl.txt", b"plain words")) == ["plain words"]


# Rejections


def test_bad_rows_are_rejected_by_reason_and_their_neighbours_kept(tmp_path: Path) -> None:
    bad = {
        b'{"text": "caf\xe9"}': "invalid_utf8",
        b'{"text": "no end': "malformed_json",
        b"[" * 100_000: "malformed_json",
        b'{"title": "x"}': "no_text_field",
        b'{"text": 5}': "no_text_field",
        b'{"text": null}': "no_text_field",
        b'{"text": ["x"]}': "no_text_field",
        b'"text"': "no_text_field",
        b'{"text": ""}': "empty",
        b'{"text": " \\n\\u3000"}': "empty",
        b'{"text": "a\\ud800b"}': "lone_surrogate",
    }
    data = b"".join(line + b"\n" + rows(f"good {number}") for number, line in enumerate(bad))
    items = read(tmp_path / "a.jsonl", data)
    assert texts(items) == [f"good {number}" for number in range(len(bad))]
    expected = {f"a.jsonl#{2 * number + 1}": reason for number, reason in enumerate(bad.values())}
    assert {key: reason for key, reason in reasons(items).items() if reason != "ok"} == expected


def test_a_row_with_an_endless_number_is_rejected_and_its_neighbours_kept(tmp_path: Path) -> None:
    data = rows("before") + b'{"text": "x", "n": ' + b"1" * 5000 + b"}\n" + rows("after")
    items = read(tmp_path / "a.jsonl", data)
    assert reasons(items) == {"a.jsonl#1": "ok", "a.jsonl#2": "malformed_json", "a.jsonl#3": "ok"}


@pytest.mark.parametrize(
    ("data", "reason"), [(b"caf\xe9", "invalid_utf8"), (b"", "empty"), (b" \n\t\n", "empty")]
)
def test_a_text_file_that_holds_no_text_is_rejected_as_a_whole(
    tmp_path: Path, data: bytes, reason: str
) -> None:
    assert reasons(read(tmp_path / "a.txt", data)) == {"a.txt": reason}


def test_a_block_of_invalid_utf8_leaves_the_other_blocks(tmp_path: Path) -> None:
    items = read(tmp_path / "a.txt", b"one\n\ntw\xff\n\nthree", text_documents="blank_line")
    assert reasons(items) == {"a.txt#1": "ok", "a.txt#3": "invalid_utf8", "a.txt#5": "ok"}


@pytest.mark.parametrize(
    ("excess", "reason"), [(0, "ok"), (1, "line_too_long"), (5000, "line_too_long")]
)
def test_a_line_beyond_the_limit_is_rejected_and_the_next_one_read(
    tmp_path: Path, excess: int, reason: str
) -> None:
    line = rows("x" * (1000 + excess - len(rows(""))))
    items = read(
        tmp_path / "a.jsonl",
        rows("before") + line + rows("after") + line.rstrip(),
        maximum_line_bytes=1000,
    )
    last = "ok" if excess <= 1 else reason
    assert list(reasons(items).values()) == ["ok", reason, "ok", last]


def test_an_overlong_line_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(rows("x" * 8_000_000, "after"))
    tracemalloc.start()
    items = list(read_documents(FileInput(path), ReaderConfig(maximum_line_bytes=10_000)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert list(reasons(items).values()) == ["line_too_long", "ok"]
    assert peak < 500_000


def test_a_truncated_gzip_keeps_every_document_before_the_damage(tmp_path: Path) -> None:
    # Digests do not repeat like words, so the compressed stream is long and the cut falls inside
    # it.
    originals = [
        hashlib.sha256(bytes([number % 256, number // 256])).hexdigest() for number in range(1400)
    ]
    data = gzip.compress(rows(*originals))
    half = data[: len(data) // 2]
    readable = zlib.decompressobj(wbits=31).decompress(half).decode()
    complete = [json.loads(line)["text"] for line in readable.split("\n")[:-1]]
    assert 0 < len(complete) < len(originals)
    *documents, last = read(tmp_path / "a.jsonl.gz", half)
    assert texts(documents) == complete
    assert isinstance(last, Rejection)
    assert (last.identifier, last.reason) == ("a.jsonl.gz", "damaged_gzip")


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (lambda data: data + b"garbage", ["one", "two"]),
        (lambda data: data[:-8] + bytes(8), ["one", "two"]),
        (lambda data: b"not gzip at all", []),
    ],
    ids=["garbage at the end", "wrong checksum", "no gzip"],
)
def test_a_damaged_gzip_is_rejected_after_what_could_be_read(
    tmp_path: Path, change: Any, kept: list[str]
) -> None:
    items = read(tmp_path / "a.jsonl.gz", change(gzip.compress(rows("one", "two"))))
    assert texts(items) == kept
    assert list(reasons(items).values()) == ["ok"] * len(kept) + ["damaged_gzip"]


# Long documents


@pytest.mark.parametrize(
    ("separators", "wanted"),
    [
        ((" ", "\n", "\n\n", "\n", " "), 3),
        ((" ", " ", "\n", " ", " "), 3),
        ((" ", "\u3000", " ", " ", " "), 5),
    ],
    ids=["paragraph", "line", "space"],
)
def test_a_long_document_is_cut_at_the_best_break(
    tmp_path: Path, separators: tuple[str, ...], wanted: int
) -> None:
    # Six words of 190 do not fit 1,000 characters; all separators but the first stand where a cut
    # is allowed.
    words = [letter * 190 for letter in "abcdef"]
    text = "".join(
        word + separator for word, separator in zip(words, (*separators, ""), strict=True)
    )
    items = read(tmp_path / "a.jsonl", rows(text), maximum_characters=1000)
    first = "".join(
        word + separator for word, separator in zip(words[:wanted], separators, strict=False)
    ).strip()
    assert texts(items) == [first, text.removeprefix(first).strip()]
    assert list(reasons(items)) == ["a.jsonl#1/1", "a.jsonl#1/2"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("aé中😀"),
            st.integers(1, 1500),
            st.sampled_from([" ", "\n", "\n\n", "\n \n", "\u3000", "\t ", ""]),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_cutting_loses_nothing_but_white_space(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[str, int, str]]
) -> None:
    text = "".join(character * length + separator for character, length, separator in parts)
    items = read(tmp_path_factory.getbasetemp() / "cut.jsonl", rows(text), maximum_characters=1000)
    assert ink("".join(texts(items))) == ink(text)
    assert all(isinstance(item, Document) and 0 < len(item.text) <= 1000 for item in items)
    assert all(
        isinstance(item, Document) and item.size == len(item.text.encode()) for item in items
    )


@pytest.mark.parametrize("mode", ["file", "blank_line"])
@pytest.mark.parametrize("line_end", ["\n", ""], ids=["many lines", "one line"])
@pytest.mark.parametrize("word", ["word ", "中文字。"], ids=["ascii", "three bytes a character"])
def test_a_text_file_longer_than_a_piece_loses_nothing(
    tmp_path: Path, mode: str, line_end: str, word: str
) -> None:
    text = "".join(f"{word * 9}{number}{line_end}" for number in range(400))
    assert len(text.encode()) > 3 * 4 * 1000
    items = read(tmp_path / "a.txt", text.encode(), text_documents=mode, maximum_characters=1000)
    assert set(reasons(items).values()) == {"ok"}
    assert ink("".join(texts(items))) == ink(text)
    assert max(map(len, texts(items))) <= 1000
    assert len(reasons(items)) == len(items), "identifiers repeat"


@pytest.mark.parametrize("mode", ["file", "blank_line"])
def test_a_long_text_file_is_read_in_bounded_pieces(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Some words that make up a line of text.\n" * 30_000, encoding="utf-8")
    config = ReaderConfig(text_documents=mode, maximum_characters=2_000)
    characters = 0
    tracemalloc.start()
    for item in read_documents(FileInput(path), config):
        assert isinstance(item, Document)
        characters += len(item.text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert characters > 1_150_000
    assert peak < 500_000


def test_a_block_is_named_by_its_line_after_an_overlong_line_too(tmp_path: Path) -> None:
    data = "word " * 900 + "\n\nsecond\n"
    items = read(
        tmp_path / "a.txt", data.encode(), text_documents="blank_line", maximum_characters=1000
    )
    assert texts(items)[-1] == "second"
    assert items[-1].identifier == "a.txt#3"
