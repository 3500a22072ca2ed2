"""Formats: the same texts in, the same documents out, whatever they stand in; rows that cannot be
read are named.
"""

import csv
import gzip
import hashlib
import io
import json
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from ernie_cmtl.corpus.read.documents import read_documents
from ernie_cmtl.corpus.read.inputs import SUFFIXES, FileInput
from ernie_cmtl.corpus.read.reader_config import ReaderConfig
from ernie_cmtl.corpus.read.tables import TABLES, read_rows
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Document, Rejection

AWKWARD = [
    *(
        "plain words",
        'a "quoted" word',
        '"',
        '""',
        '"all of it"',
        "a,b;c|d",
        ",",
        "it's",
        "back\\slash \\n \\t \\u0041",
        "#",
        "'",
    ),
    *(
        "two\nlines",
        "two\n\nparagraphs",
        'a line,\n"a quoted line"\n,',
        "tab\tinside",
        "a\t\tb",
        "carriage\r\nreturn",
    ),
    *(
        "héé",
        "中文字。标点，",
        "😀👩‍👩‍👧",
        "e\u0301",
        "\u200bzero\u200dwidth",
        "non\u00a0breaking",
        "full\u3000width",
        "עברית",
        "नमस्ते",
    ),
    *(
        "line\u2028separator",
        "next\x85line",
        "form\x0cfeed",
        "nul\x00inside",
        "bell\x07",
        "\x1f unit",
        "\ufffd",
        "a\ufeffb",
    ),
    *(
        "0",
        "1.5",
        "null",
        "None",
        "NaN",
        "true",
        "{}",
        "[]",
        '{"text": "x"}',
        "=1+1",
        "-",
        "--",
        "<b>",
        "&amp;",
        "%s {} $x",
    ),
    "x" * 5000,
]


def packed(data: bytes, ending: str) -> bytes:
    if ending.endswith(".gz"):
        return gzip.compress(data)
    return pyarrow.Codec("zstd").compress(data, asbytes=True) if ending.endswith(".zst") else data


def csv_bytes(rows: Iterable[Iterable[object]], line_end: str = "\r\n") -> bytes:
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator=line_end).writerows(rows)
    return stream.getvalue().encode()


def held_in(ending: str, text: str) -> str:
    """The text as the format can hold it."""
    if ".tsv" in ending:
        return text.replace("\r", " ").replace("\n", " ").replace("\t", " ")
    if ".txt" in ending:
        return text.replace("\n\n", "\n")
    return text


def write(path: Path, texts: list[str], ending: str) -> None:
    if ending == ".parquet":
        table = pyarrow.table({"number": list(range(len(texts))), "text": texts})
        parquet.write_table(table, path, row_group_size=7)
        return
    if ".txt" in ending:
        data = "\n\n".join(texts).encode()
    elif ".jsonl" in ending:
        data = "".join(
            json.dumps({"number": n, "text": text}) + "\n" for n, text in enumerate(texts)
        ).encode()
    elif ".csv" in ending:
        data = csv_bytes([("number", "text"), *enumerate(texts)])
    else:
        data = "".join(
            f"{n}\t{text}\n" for n, text in [("number", "text"), *enumerate(texts)]
        ).encode()
    path.write_bytes(packed(data, ending))


def documents(path: Path, **config: Any) -> list[Document | Rejection]:
    return list(read_documents(FileInput(path), ReaderConfig(**config)))


def outcome(path: Path, **config: Any) -> list[tuple[str, str]]:
    """Identifier without the name of the file, and the text or the reason of the rejection."""
    items = documents(path, **config)
    pairs = [
        (item.identifier, item.text if isinstance(item, Document) else item.reason)
        for item in items
    ]
    return [(identifier.removeprefix(path.name), found) for identifier, found in pairs]


def detail(path: Path, **config: Any) -> str:
    (rejection,) = [item for item in documents(path, **config) if isinstance(item, Rejection)]
    return rejection.detail


@pytest.mark.parametrize("ending", SUFFIXES)
def test_the_same_texts_come_out_of_every_format(tmp_path: Path, ending: str) -> None:
    assert len(AWKWARD) >= 50
    texts = [held_in(ending, text) for text in AWKWARD]
    path = tmp_path / f"a{ending}"
    write(path, texts, ending)
    items = documents(path, text_documents="blank_line")
    wanted = [text.replace("\r\n", "\n").strip() for text in texts]
    assert [item.text if isinstance(item, Document) else item for item in items] == wanted
    assert [item.size for item in items if isinstance(item, Document)] == [
        len(text.encode()) for text in wanted
    ]
    assert len({item.identifier for item in items}) == len(items)


@pytest.mark.parametrize("ending", TABLES)
def test_rows_of_a_table_are_values_by_column_with_a_number_to_find_them(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"a{ending}"
    write(path, ["one", "two"], ending)
    first = 2 if "sv" in ending else 1
    numbers: list[Any] = ["0", "1"] if "sv" in ending else [0, 1]
    rows = [
        (first, {"number": numbers[0], "text": "one"}),
        (first + 1, {"number": numbers[1], "text": "two"}),
    ]
    assert list(read_rows(path, None)) == rows
    assert list(read_rows(path, ["number"])) == [
        (number, {"number": row["number"]}) for number, row in rows
    ]


@pytest.mark.parametrize("ending", TABLES)
def test_a_column_that_is_not_there_is_named_with_those_that_are(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"a{ending}"
    write(path, ["one", "two"], ending)
    with pytest.raises(UserError, match=rf"a\{ending}.*'body'.*number, text"):
        list(read_rows(path, ["text", "body"]))
    if "jsonl" in ending:
        assert outcome(path, text_field="body") == [
            ("#1", "no_text_field"),
            ("#2", "no_text_field"),
        ]
        rejection = documents(path, text_field="body")[0]
        assert isinstance(rejection, Rejection)
        assert "'body'" in rejection.detail
        assert "number, text" in rejection.detail
    else:
        with pytest.raises(UserError, match=r"'body'.*number, text.*reader\.text_field=") as caught:
            documents(path, text_field="body")
        assert str(path) in str(caught.value)


def test_a_column_that_stands_twice_is_no_choice(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(csv_bytes([("text", "text"), ("a", "b")]))
    with pytest.raises(UserError, match="2 columns 'text'"):
        documents(tmp_path / "a.csv")


@pytest.mark.parametrize(("ending", "mark"), [(".csv", ","), (".tsv", "\t")])
def test_rows_with_a_wrong_number_of_fields_are_rejected_and_their_neighbours_kept(
    tmp_path: Path, ending: str, mark: str
) -> None:
    lines = ["id|text", "1|one", "2", "3|three|more", "", "4|four"]
    path = tmp_path / f"a{ending}"
    path.write_text("\n".join(lines).replace("|", mark))
    wrong = "wrong_columns"
    assert outcome(path) == [("#2", "one"), ("#3", wrong), ("#4", wrong), ("#6", "four")]
    counts = [item.detail for item in documents(path) if isinstance(item, Rejection)]
    assert counts == ["1 fields, the header has 2", "3 fields, the header has 2"]
    with pytest.raises(UserError, match=rf"a\{ending}, line 3: 1 fields, the header has 2"):
        list(read_rows(path, None))


def test_a_csv_row_is_named_by_the_line_where_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'text\r\n"two\r\nlines"\r\n\r\nplain\r\n"and ""three""\n\nmore"\r\nlast')
    assert outcome(path) == [
        ("#2", "two\nlines"),
        ("#5", "plain"),
        ("#6", 'and "three"\n\nmore'),
        ("#9", "last"),
    ]


def test_a_quote_inside_an_unquoted_field_is_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'id,text\n1,a 5" disk\n2,"next"\n')
    assert outcome(path) == [("#2", 'a 5" disk'), ("#3", "next")]


def test_quotes_are_text_in_tsv(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(b'id\ttext\n1\t"not closed\n2\t"closed"\n')
    assert outcome(path) == [("#2", '"not closed'), ("#3", '"closed"')]


def test_reading_goes_on_after_a_quote_that_is_not_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'id,text\n1,"not closed\n2,"closed"\n3,"good"\n4,"to the end\n5,lost')
    assert outcome(path) == [("#2", "malformed_csv"), ("#4", "good"), ("#5", "malformed_csv")]
    first, last = [item for item in documents(path) if isinstance(item, Rejection)]
    assert "lines 2 to 3" in first.detail
    assert "lines 5 to 6" in last.detail


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_bad_bytes_reject_their_row_alone(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"\xef\xbb\xbftext\r\none\r\ncaf\xe9\r\n \r\nfour\r\n")
    assert outcome(path) == [("#2", "one"), ("#3", "invalid_utf8"), ("#4", "empty"), ("#5", "four")]
    assert "byte 3" in next(item.detail for item in documents(path) if isinstance(item, Rejection))


def test_a_quoted_field_of_bad_bytes_ends_where_its_quote_does(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'text\n"one\ncaf\xe9\nmore"\ngood\n')
    assert outcome(path) == [("#2", "invalid_utf8"), ("#5", "good")]


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_a_line_beyond_the_limit_is_rejected_without_being_held(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"text\nbefore\n" + b"x" * 8_000_000 + b"\nafter\n")
    tracemalloc.start()
    found = outcome(path, maximum_line_bytes=10_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [("#2", "before"), ("#3", "line_too_long"), ("#4", "after")]
    assert peak < 500_000


def test_a_csv_row_of_many_lines_is_bounded_too(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'text\nbefore\n"' + b"some more words\n" * 100_000)
    items = read_documents(FileInput(path), ReaderConfig(maximum_line_bytes=1_000_000))
    tracemalloc.start()
    found = [next(items), next(items)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[0] == Document("a.csv#2", "before", 6)
    assert isinstance(found[1], Rejection)
    assert (found[1].identifier, found[1].reason) == ("a.csv#3", "line_too_long")
    assert peak < 6_000_000


def test_a_field_longer_than_the_default_of_the_parser_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(csv_bytes([("text",), ("x" * 300_000,)]))
    assert outcome(path) == [("#2", "x" * 300_000)]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".csv.gz", ".tsv.zst", ".jsonl.zst"])
def test_an_empty_table_has_no_documents(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    path.write_bytes(packed(b"", ending))
    assert outcome(path) == []


def test_a_header_that_cannot_be_read_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"caf\xe9,text\n1,one\n")
    with pytest.raises(UserError, match=r"header of .*a\.csv, line 1"):
        documents(tmp_path / "a.csv")


def test_a_file_that_is_no_table_is_named_with_the_endings_that_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.txt.*\.jsonl.*\.parquet"):
        list(read_rows(tmp_path / "a.txt", None))


@pytest.mark.parametrize("ending", [".jsonl", ".csv.gz", ".tsv.zst", ".parquet", ".txt.zst"])
def test_a_file_that_is_not_there_is_the_users_mistake(tmp_path: Path, ending: str) -> None:
    with pytest.raises(UserError, match=r"no file .*absent"):
        documents(tmp_path / f"absent{ending}")


# Parquet


def test_values_of_parquet_that_are_no_text_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    strings = pyarrow.array([b"one", b"caf\xe9", None, b"", b"five"], pyarrow.binary()).cast(
        pyarrow.string(), safe=False
    )
    parquet.write_table(
        pyarrow.table({"text": strings, "list": [["x"]] * 5, "bytes": [b"x"] * 5}), path
    )
    assert outcome(path) == [
        ("#1", "one"),
        ("#2", "invalid_utf8"),
        ("#3", "no_text_field"),
        ("#4", "empty"),
        ("#5", "five"),
    ]
    assert {reason for _, reason in outcome(path, text_field="list")} == {"no_text_field"}
    assert {reason for _, reason in outcome(path, text_field="bytes")} == {"no_text_field"}
    with pytest.raises(UserError, match=r"a\.parquet, row 2: "):
        list(read_rows(path, None))


def test_other_kinds_of_strings_in_parquet_are_text(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    large = pyarrow.array(["one", "two"], pyarrow.large_string())
    parquet.write_table(pyarrow.table({"text": large, "category": large.dictionary_encode()}), path)
    assert outcome(path) == outcome(path, text_field="category") == [("#1", "one"), ("#2", "two")]


def digests(number: int) -> list[str]:
    """Texts that do not compress, so that a cut falls inside of them."""
    return [
        hashlib.sha512(bytes([place % 256, place // 256])).hexdigest() for place in range(number)
    ]


def test_a_damaged_parquet_keeps_the_rows_before_the_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = digests(2000)
    parquet.write_table(
        pyarrow.table({"text": texts}),
        path,
        row_group_size=500,
        use_dictionary=False,
        compression="zstd",
    )
    data = path.read_bytes()
    group = parquet.ParquetFile(path).metadata.row_group(2).column(0)
    start = group.data_page_offset
    path.write_bytes(data[:start] + bytes(2000) + data[start + 2000 :])
    found = outcome(path)
    assert found == [
        *((f"#{number}", text) for number, text in enumerate(texts[:1000], 1)),
        ("", "damaged_parquet"),
    ]
    assert "row 1001 and what follows" in detail(path)
    with pytest.raises(UserError, match=r"a\.parquet is damaged"):
        list(read_rows(path, None))


@pytest.mark.parametrize("data", [b"", b"not parquet at all", b"PAR1" + bytes(100)])
def test_a_parquet_without_its_footer_is_one_rejection(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(data)
    assert outcome(tmp_path / "a.parquet") == [("", "damaged_parquet")]


# Zstandard


def rows_of(texts: list[str]) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


def test_a_zstd_file_of_several_frames_is_read_to_its_end(tmp_path: Path) -> None:
    texts = digests(6000)
    skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00four"
    parts = [rows_of(texts[start : start + 1500]) for start in range(0, 6000, 1500)]
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(skippable.join(packed(part, ".zst") for part in parts))
    assert [text for _, text in outcome(path)] == texts


def test_a_truncated_zstd_keeps_every_document_before_the_damage(tmp_path: Path) -> None:
    texts = digests(6000)
    frames = [packed(rows_of(texts[start : start + 500]), ".zst") for start in range(0, 6000, 500)]
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(b"".join(frames[:7]) + frames[7][: len(frames[7]) // 2])
    *found, last = outcome(path)
    assert last == ("", "damaged_zstd")
    assert [text for _, text in found] == texts[: len(found)]
    assert len(found) >= 3500
    assert "what stands after the damage is lost" in detail(path)
    with pytest.raises(UserError, match=r"zst is damaged; what stands after"):
        list(read_rows(path, None))


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (packed(rows_of(["one", "two"]), ".zst")[:-3], 0),
        (packed(rows_of(["one", "two"]), ".zst") + packed(rows_of(["three"]), ".zst")[:-3], 2),
        (b"not zstandard at all", 0),
    ],
    ids=["cut", "second frame cut", "no zstandard"],
)
def test_a_damaged_zstd_is_rejected_after_what_could_be_read(
    tmp_path: Path, data: bytes, kept: int
) -> None:
    (tmp_path / "a.jsonl.zst").write_bytes(data)
    found = [text for _, text in outcome(tmp_path / "a.jsonl.zst")]
    assert found == [*("one", "two")[:kept], "damaged_zstd"]
