"""What happens to documents that cannot be used: rejected, repaired or the end of the build, for
each source.
"""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from ernie_cmtl.corpus.build.progress import Progress
from ernie_cmtl.corpus.read import compression
from ernie_cmtl.corpus.read.documents import read_documents
from ernie_cmtl.corpus.read.inputs import FileInput
from ernie_cmtl.corpus.read.reader_config import ReaderConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Document, Rejection
from tests.support.corpora import make_corpus, sample_texts, write_jsonl

BAD = b"caf\xe9 au lait"
REPAIRED = "caf\ufffd au lait"


def invalid_parquet(path: Path) -> None:
    """Bytes under the type of a string, as writers in other languages leave them."""
    rows = pyarrow.array([b"good", BAD, None], type=pyarrow.binary()).cast(
        pyarrow.string(), safe=False
    )
    parquet.write_table(pyarrow.table({"text": rows}), path)


def write_invalid(path: Path) -> Path:
    """Write two documents in the format of a name, the second with a byte that is no UTF-8."""
    if path.suffix == ".parquet":
        invalid_parquet(path)
    elif ".jsonl" in path.name:
        path.write_bytes(b'{"text": "good"}\n{"text": "' + BAD + b'"}\n')
    elif ".txt" in path.name:
        path.write_bytes(b"good\n\n" + BAD)
    else:
        path.write_bytes(b"text\ngood\n" + BAD + b"\n")
    return path


def read(path: Path, **settings: Any) -> list[Document | Rejection]:
    return list(
        read_documents(FileInput(path), ReaderConfig(text_documents="blank_line", **settings))
    )


@pytest.mark.parametrize("ending", [".txt", ".jsonl", ".csv", ".tsv", ".parquet"])
def test_bytes_that_are_no_text_are_skipped_repaired_or_the_end(
    tmp_path: Path, ending: str
) -> None:
    path = write_invalid(tmp_path / f"a{ending}")
    good, bad, *rest = read(path)
    assert isinstance(good, Document)
    assert good.text == "good"
    assert not good.repaired
    assert isinstance(bad, Rejection)
    assert bad.reason == "invalid_utf8"
    kept, repaired, *others = read(path, errors="repair")
    assert (kept, others) == (good, rest)
    assert repaired == Document(bad.identifier, REPAIRED, len(REPAIRED.encode()), "", True)
    with pytest.raises(
        UserError,
        match=rf"a\{ending}.*{bad.identifier} cannot be used \(invalid_utf8, byte.*errors=skip",
    ):
        read(path, errors="strict")


def test_lone_surrogates_of_text_and_title_are_repaired(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"text": "a\\ud800b", "title": "x\\udc00"}\n{"text": "c", "title": "\\udfff"}\n',
        encoding="utf-8",
    )
    assert [
        item.reason for item in read(path, title_field="title") if isinstance(item, Rejection)
    ] == ["lone_surrogate"] * 2
    first, second = read(path, title_field="title", errors="repair")
    assert first == Document("a.jsonl#1", "a\ufffdb", 5, "x\ufffd", True)
    assert second == Document("a.jsonl#2", "c", 1, "\ufffd", False)


def test_what_cannot_be_repaired_is_rejected_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "one"}\n{"text": "tw\xff\n{"text": 3}\n{"text": "four"}\n')
    found = read(path, errors="repair")
    assert [item.text if isinstance(item, Document) else item.reason for item in found] == [
        "one",
        "malformed_json",
        "no_text_field",
        "four",
    ]


def test_a_key_that_stands_twice_is_no_choice(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"text": "one", "text": "two"}\n{"text": "x", "more": [{"a": 1, "a": 1}]}\n{"text": '
        '"kept"}\n',
        "utf-8",
    )
    found = [
        item.text if isinstance(item, Document) else f"{item.reason}: {item.detail}"
        for item in read(path)
    ]
    assert found == ["malformed_json: a key stands twice in one object"] * 2 + ["kept"]


@pytest.mark.parametrize("mode", ["file", "blank_line"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_the_place_of_a_bad_byte_is_that_in_the_file(
    tmp_path: Path, mode: Any, mark: bytes
) -> None:
    """Also behind the first piece of a long file, and behind blank lines."""
    path = tmp_path / "a.txt"
    good = mark + b"Some words and a line end.\n" * 400 + b"\n\n"
    path.write_bytes(good + b"word\nw\xe9rd")
    config = ReaderConfig(text_documents=mode, maximum_characters=1000)
    (bad,) = [
        item for item in read_documents(FileInput(path), config) if isinstance(item, Rejection)
    ]
    assert bad.detail == f"byte {len(good) + 6} of the file"
    (bad,) = [
        item
        for item in read_documents(FileInput(write_at_start(path, mark)), config)
        if isinstance(item, Rejection)
    ]
    assert bad.detail == f"byte {len(mark) + 1} of the file"


def write_at_start(path: Path, mark: bytes) -> Path:
    path.write_bytes(mark + b"w\xe9rd")
    return path


# Whole builds


def test_each_source_has_its_own_policy(tmp_path: Path) -> None:
    text = write_jsonl(tmp_path / "text.jsonl", sample_texts("en", 8))
    for name in ("wiki", "web"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jsonl").write_bytes(
            b'{"text": "' + name.encode() + b' caf\xe9 words"}\n{"text": 5}\n'
        )
    words = [str(text), f"wiki={tmp_path / 'wiki'}", f"web={tmp_path / 'web'}"]
    result = make_corpus(
        words,
        tmp_path / "corpus",
        reader={"source_errors": {"wiki": "repair"}, "lost_files": "skip"},
    )
    assert result["documents"] == {
        "read": 12,
        "used": 9,
        "rejected": 3,
        "duplicates": 0,
        "heldout": 2,
        "repaired": 1,
    }
    assert result["sources"]["wiki"]["documents"] == 1
    assert "web" not in result["sources"] or result["sources"]["web"]["documents"] == 0
    rows = [
        json.loads(line)
        for line in (tmp_path / "corpus" / "rejects.jsonl").read_text("utf-8").splitlines()
    ]
    assert sorted((row["source"], row["document"], row["reason"]) for row in rows) == [
        ("web", "a.jsonl#1", "invalid_utf8"),
        ("web", "a.jsonl#2", "no_text_field"),
        ("wiki", "a.jsonl#2", "no_text_field"),
    ]
    with pytest.raises(UserError, match=r"web/a.jsonl: a.jsonl#1 cannot be used"):
        make_corpus(words, tmp_path / "strict", reader={"source_errors": {"web": "strict"}})
    assert not (tmp_path / "strict").exists()


def test_a_policy_for_a_source_that_is_not_read_is_refused(tmp_path: Path) -> None:
    text = write_jsonl(tmp_path / "text.jsonl", sample_texts("en", 8))
    with pytest.raises(
        UserError, match=r"reader.source_errors names wiki; sources that are read are text"
    ):
        make_corpus([str(text)], tmp_path / "corpus", reader={"source_errors": {"wiki": "strict"}})


def rows_of(good: int, empty: int, numbers: int) -> list[object]:
    texts = [f"{text[:200]} {number}" for number, text in enumerate(sample_texts("en", 10) * 10)]
    return [*texts[:good], *[""] * empty, *[5] * numbers]


@pytest.mark.parametrize(
    ("rows", "limit", "stops"),
    [
        (rows_of(49, 20, 31), 0.5, True),
        (rows_of(50, 20, 30), 0.5, False),
        (rows_of(49, 20, 31), 0.51, False),
        (rows_of(99, 1, 0), 0.0, True),
        (rows_of(30, 20, 40), 0.5, False),
    ],
    ids=["beyond", "at the limit", "higher limit", "nothing allowed", "too few to judge"],
)
def test_too_many_rejections_in_a_source_stop_the_build(
    tmp_path: Path, rows: list[object], limit: float, stops: bool
) -> None:
    bad, good = tmp_path / "bad.jsonl", write_jsonl(tmp_path / "good.jsonl", sample_texts("en", 40))
    bad.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows), encoding="utf-8")
    words = [f"bad={bad}", f"good={good}"]
    settings: dict[str, Any] = {"reader": {"maximum_reject_rate": limit}, "layers": {}}
    if not stops:
        result = make_corpus(words, tmp_path / "corpus", **settings)["documents"]
        assert result["rejected"] == sum(row in ("", 5) for row in rows)
        return
    reasons = "empty: 1" if limit == 0 else "no_text_field: 31, as bad.jsonl#70: .*, empty: 20"
    with pytest.raises(
        UserError, match=rf"source bad: \d+ of 100 documents cannot be used \({reasons}\)"
    ):
        make_corpus(words, tmp_path / "corpus", **settings)
    assert not (tmp_path / "corpus").exists()


def test_the_manifest_counts_what_was_repaired(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({"text": text}).encode() for text in sample_texts("en", 8)]
    twice = lines[0].replace(b" the ", b" th\xff ", 1)
    path.write_bytes(b"\n".join([*lines, twice, twice]))
    result = make_corpus([str(path)], tmp_path / "corpus", reader={"errors": "repair"})["documents"]
    assert result == {
        "read": 10,
        "used": 9,
        "rejected": 0,
        "duplicates": 1,
        "heldout": 2,
        "repaired": 1,
    }
    assert Corpus(tmp_path / "corpus").manifest.documents == result


# Streams without end, and files that change


@pytest.mark.parametrize("ending", [".jsonl.gz", ".txt.gz", ".jsonl.zst"])
def test_a_file_that_unpacks_beyond_all_measure_is_cut_off(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "_UNPACKED_FREELY", 1 << 20)
    data = b'{"text": "good"}\n' + b"\n" * (8 << 20) + b'{"text": "never reached"}\n'
    path = tmp_path / f"bomb{ending}"
    path.write_bytes(
        gzip.compress(data)
        if ending.endswith("gz")
        else pyarrow.compress(data, codec="zstd", asbytes=True)
    )
    assert path.stat().st_size < len(data) / 300
    *documents, last = read_documents(FileInput(path), ReaderConfig())
    assert isinstance(last, Rejection)
    assert last.reason == "unpacks_too_far"
    assert [item.text for item in documents if isinstance(item, Document)] == (
        [] if ".txt" in ending else ["good"]
    )


def test_ordinary_packed_text_is_not_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "_UNPACKED_FREELY", 1000)
    path = tmp_path / "a.jsonl.gz"
    texts = sample_texts("en", 40)
    path.write_bytes(
        gzip.compress("".join(json.dumps({"text": text}) + "\n" for text in texts).encode())
    )
    assert [
        item.text
        for item in read_documents(FileInput(path), ReaderConfig())
        if isinstance(item, Document)
    ] == [text.strip() for text in texts]


@pytest.mark.parametrize("what", ["labelled.pairs", "layers.gazetteer"])
def test_labelled_rows_and_lists_that_change_during_the_build_are_reported(
    tmp_path: Path, what: str
) -> None:
    text = write_jsonl(tmp_path / "text.jsonl", sample_texts("en", 8))
    names, pairs = tmp_path / "names.txt", tmp_path / "pairs.tsv"
    names.write_text("House of Lords\n", encoding="utf-8")
    pairs.write_text(
        "".join(f"a question {number}\t{number % 2}\n" for number in range(-1, 30)).replace(
            "a question -1\t1", "q\tc"
        )
    )
    waiting: list[Callable[[], object]] = [
        lambda: (pairs if what == "labelled.pairs" else names).open("a").write("more\t1\n")
    ]

    def change_once(progress: Progress) -> None:
        if progress.stage == "fitted" and waiting:
            waiting.pop()()

    settings: dict[str, Any] = {
        "layers": {"gazetteer": {"files": [str(names)]}},
        "labelled": {"pairs": {"file": str(pairs), "columns": {"q": "text", "c": "class"}}},
    }
    with pytest.raises(
        UserError, match=rf"{what} was changed or removed while the corpus was built"
    ):
        make_corpus([str(text)], tmp_path / "corpus", report=change_once, **settings)
