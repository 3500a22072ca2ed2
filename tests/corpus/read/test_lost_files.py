"""A file that is lost whole or in large part is an error that says what its bytes look like; damage
to a few bytes is none.
"""

import gzip
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ernie_cmtl.corpus.read.encoding_detection import NO_TEXT, looks_like
from ernie_cmtl.errors import UserError
from tests.support.command_line import mistake, squeezed
from tests.support.corpora import make_corpus, sample_texts

CHINESE = sample_texts("zh")
TRADITIONAL = (
    "這是一個測試文件，內容是繁體中文。我們希望檢測能夠正確地識別編碼。今天的天氣很好，人們去公園散步。\n"
    * 5
)
FRENCH = (
    "L'été dernier, nous avons visité plusieurs châteaux près de la Loire. Ça m'a beaucoup plu, "
    "même à midi.\n" * 5
)
JAPANESE = (
    "これはテストの文書です。日本語の文字コードを検出できるかどうかを確認します。今日は天気が良いので散歩します。\n"
    * 5
)
ENGLISH = (
    "The quick brown fox jumps over the lazy dog and runs away into the forest where nobody can "
    "find it.\n" * 5
)

ENCODED = [
    ("gbk", CHINESE[0], "GB18030"),
    ("gb18030", "\n".join(CHINESE), "GB18030"),
    ("big5", TRADITIONAL, "BIG5"),
    ("latin-1", FRENCH, "CP1252"),
    ("shift_jis", JAPANESE, "SHIFT-JIS"),
    ("euc_jp", JAPANESE, "EUC-JP"),
    ("utf-16", ENGLISH, "UTF-16"),
    ("utf-16-le", ENGLISH, "UTF-16LE"),
    ("utf-16-be", CHINESE[0], "UTF-16BE"),
    ("utf-32", ENGLISH, "UTF-32"),
]


@pytest.mark.parametrize(("encoding", "text", "name"), ENCODED)
@pytest.mark.parametrize("packed", [False, True])
def test_the_encoding_of_a_file_is_told_by_its_bytes(
    tmp_path: Path, encoding: str, text: str, name: str, packed: bool
) -> None:
    path = tmp_path / ("a.txt.gz" if packed else "a.txt")
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if packed else data)
    assert looks_like(path) == name
    # The name is one that iconv takes.
    if not packed:
        done = subprocess.run(
            ["iconv", "-f", name, "-t", "UTF-8", path], capture_output=True, check=True
        )
        assert done.stdout.decode() == text


@pytest.mark.parametrize("encoding", ["gbk", "utf-16"])
def test_a_long_file_is_known_by_what_comes_after_its_ascii_and_however_it_is_cut(
    tmp_path: Path, encoding: str
) -> None:
    path = tmp_path / "a.txt"
    for lines in (0, 700, 3000):
        path.write_bytes((ENGLISH * lines + "".join(CHINESE) * 10).encode(encoding))
        assert looks_like(path) == {"gbk": "GB18030", "utf-16": "UTF-16"}[encoding]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (CHINESE[0].encode(), ""),
        (CHINESE[0].encode()[:-1], ""),
        (CHINESE[0].encode()[:300] + b"\xff\x00" + CHINESE[0].encode()[300:], ""),
        (b"ascii with a zero\0 and more of it", ""),
        (b"", ""),
        (bytes(range(256)) * 20, NO_TEXT),
        (b"plain words in a caf\xe9 and more of them " * 3, "CP1252"),
    ],
)
def test_damaged_utf_8_stays_utf_8_and_what_is_no_text_is_said_to_be_none(
    tmp_path: Path, data: bytes, name: str
) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    assert looks_like(tmp_path / "a.txt") == name


def test_a_file_that_cannot_be_unpacked_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(CHINESE[0].encode("gbk") * 9)[:40])
    assert looks_like(tmp_path / "a.txt.gz") == ""
    (tmp_path / "a.parquet").write_bytes(b"\xff" * 99)
    assert looks_like(tmp_path / "a.parquet") == ""
    assert looks_like(tmp_path / "absent.txt") == ""


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Forty files in UTF-8, ten in GBK."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(50):
        text = f"{number} {CHINESE[number % len(CHINESE)]}"
        (folder / f"{number:02}.txt").write_bytes(text.encode("gbk" if number >= 40 else "utf-8"))
    return folder


def test_ten_files_in_gbk_among_forty_in_utf_8_stop_the_build(mixed: Path, tmp_path: Path) -> None:
    said = mistake("prepare", "--input", mixed, "--output", tmp_path / "corpus", "--language", "zh")
    assert (
        squeezed(
            "files would be lost: 10 not in UTF-8 but, by their bytes, in GB18030: "
            f"{mixed / '40.txt'}, "
        )
        in said
    )
    assert (
        squeezed(
            "7 more (read with reader.encoding=GB18030, or convert with iconv -f GB18030 -t UTF-8)"
        )
        in said
    )
    assert "reader.lost_files=skip" in said
    assert not (tmp_path / "corpus").exists()


def test_they_are_rejected_and_counted_where_that_is_asked_for(mixed: Path, tmp_path: Path) -> None:
    result = make_corpus([str(mixed)], tmp_path / "corpus", "zh", reader={"lost_files": "skip"})
    assert result["documents"] | {"heldout": 0} == {
        "read": 50,
        "used": 40,
        "rejected": 10,
        "duplicates": 0,
        "heldout": 0,
        "repaired": 0,
    }
    assert result["rejections"] == {"invalid_utf8": 10}


def test_other_encodings_are_not_repaired_into_rubbish(mixed: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"10 not in UTF-8 but, by their bytes, in GB18030"):
        make_corpus([str(mixed)], tmp_path / "corpus", "zh", reader={"errors": "repair"})


def refused(folder: Path, name: str, data: bytes, **settings: Any) -> str:
    """Return why a build stops, or nothing, where a file stands beside a good one."""
    (folder / "in").mkdir()
    (folder / "in" / "good.txt").write_text("\n\n".join(sample_texts("en", 8)))
    (folder / "in" / name).write_bytes(data)
    reader = {"text_documents": "blank_line"} | settings
    try:
        make_corpus([str(folder / "in")], folder / "corpus", reader=reader)
    except UserError as error:
        return str(error)
    return ""


GBK_ROW = json.dumps({"text": CHINESE[0]}, ensure_ascii=False).encode("gbk") + b"\n"
LOST: dict[str, tuple[str, bytes, str]] = {
    "rows in GBK": ("a.jsonl", GBK_ROW * 3, "in GB18030"),
    "most rows in GBK": ("a.jsonl", GBK_ROW * 3 + b'{"text": "good"}\n', "in GB18030"),
    "blocks in UTF-16": ("a.txt", ENGLISH.replace("\n", "\n\n").encode("utf-16-le"), "in UTF-16LE"),
    "rows of UTF-16": ("a.csv", ("text\n" + ENGLISH).encode("utf-16-le"), ""),
    "a picture": (
        "a.txt",
        bytes(range(256)) * 20,
        f"1 without a single usable document: .*a.txt .{NO_TEXT}, invalid_utf8",
    ),
    "no row with text": (
        "a.jsonl",
        b'{"body": "x"}\n' * 3,
        r"a\.jsonl \(no_text_field: 3, as a\.jsonl#1: no 'text'",
    ),
    "rows that are broken": ("a.jsonl", b"{broken\n" * 3, r"malformed_json: 3"),
    "a packed file that is no such": ("a.jsonl.gz", b"no gzip at all", r"damaged_gzip: 1"),
}


@pytest.mark.parametrize("what", LOST)
def test_a_file_that_is_lost_whole_or_in_large_part_is_named_with_its_bytes_or_reasons(
    tmp_path: Path, what: str
) -> None:
    name, data, message = LOST[what]
    said = refused(tmp_path, name, data)
    assert name in said
    assert re.search(message, said)


KEPT: dict[str, tuple[str, bytes]] = {
    "an empty file": ("a.txt", b" \n"),
    "only empty rows": ("a.jsonl", b'{"text": ""}\n' * 5),
    "one document with a damaged byte": (
        "a.txt",
        CHINESE[0].encode()[:30] + b"\xff" + CHINESE[0].encode()[30:],
    ),
    "one row that is broken": ("a.jsonl", b"{broken\n"),
    "some rows in another encoding": (
        "a.jsonl",
        GBK_ROW + b'{"text": "good"}\n{"text": "better"}\n',
    ),
    "a packed file that is cut off": (
        "a.jsonl.gz",
        gzip.compress(b'{"text": "good words here"}\n' * 999)[:80],
    ),
}


@pytest.mark.parametrize("what", KEPT)
def test_a_lost_document_is_no_lost_file(tmp_path: Path, what: str) -> None:
    assert refused(tmp_path, *KEPT[what]) == ""


@pytest.mark.parametrize("what", LOST)
def test_any_of_them_is_passed_over_where_that_is_asked_for(tmp_path: Path, what: str) -> None:
    name, data, _ = LOST[what]
    said = refused(tmp_path, name, data, lost_files="skip")
    assert not said or "no column 'text'" in said


def test_where_all_is_lost_it_is_said_too(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(CHINESE[0].encode("gbk"))
    with pytest.raises(
        UserError,
        match=r"no "
        r"usable "
        r"document "
        r"in "
        r"1 "
        r"input.*invalid_utf8: "
        r"1.*; "
        r"files "
        r"would "
        r"be "
        r"lost: "
        r".* "
        r"in "
        r"GB18030",
    ):
        make_corpus([str(tmp_path / "a.txt")], tmp_path / "corpus", "zh")
