"""Thousands of broken files: nothing crashes, every document is used, rejected or a duplicate, and
good ones are all kept.
"""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from ernie_cmtl.corpus.build.held_out import HeldoutRule
from ernie_cmtl.corpus.build.scan import scan
from ernie_cmtl.corpus.build.seen_texts import SeenTexts
from ernie_cmtl.corpus.build.shards import cut_shards
from ernie_cmtl.corpus.read.documents import read_documents
from ernie_cmtl.corpus.read.inputs import FileInput
from ernie_cmtl.corpus.read.reader_config import ReaderConfig
from ernie_cmtl.corpus.read.sources import SourceInput, numbered_documents
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Document, Rejection
from tests.support.corpora import make_corpus

FORMATS = [
    f".{kind}{packing}"
    for kind in ("txt", "jsonl", "csv", "tsv")
    for packing in ("", ".gz", ".zst")
] + [".parquet"]
LIMITS: dict[str, Any] = {
    "maximum_characters": 1000,
    "maximum_line_bytes": 3000,
    "maximum_reject_rate": 1.0,
    "lost_files": "skip",
}
GROUP = 50
Generator = np.random.Generator
Odd = Callable[[Generator], bytes]

# Each stands where a text is expected; none holds a line feed, a tab or a quote, so that its row
# ends where it should.
ODD_TEXTS = [
    b"",
    b" \xe3\x80\x80 ",
    b"\x00\x01\x1b[31m",
    b"\xef\xbb\xbfmark",
    b"caf\xe9",
    b"\xff\xfe\x00",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xc0\xaf",
    "zero\u200bwidth\u202eturned".encode(),
    "lines\u2028and\u2029pages\x0b\x0c\x85here".encode(),
    "e\u0301\u0327".encode() * 50,
    b"[MASK] [SEP] [CLS]",
    b"<script>alert(1)</script>",
    b"word" * 1000,
    "\U0001f600".encode() * 400,
    b"\rlone\rreturns",
]
ODD_ROWS = [
    b"{",
    b"[1, 2",
    b"[" * 3000,
    b"{'text': 1}",
    b"null",
    b"NaN",
    b"5",
    b"{}",
    b'{"text": null}',
    b'{"text": 1e999}',
    b'{"text": ["a"]}',
    b'{"text": "\\ud800 half"}',
    b'{"text": "bad \\x"}',
    b'{"text": "a", "text": "b"}',
    b'{"text": "' + b"long " * 900 + b'"}',
    b'{"text": "' + b"1" * 50 + b'", "n": ' + b"9" * 2900 + b"}",
    b"\x80\x04\x95 pickle",
    b"PK\x03\x04",
]


def pick(options: list[Any], rng: Generator) -> Any:
    return options[rng.integers(len(options))]


def noise(rng: Generator, without: bytes) -> bytes:
    """Random bytes but for some."""
    data = rng.integers(0, 256, rng.integers(1, 60), dtype=np.uint8).tobytes()
    return bytes(byte for byte in data if byte not in without)


def odd_text(rng: Generator) -> bytes:
    return noise(rng, b'\n\r\t",') if rng.random() < 0.4 else bytes(pick(ODD_TEXTS, rng))


def json_row(text: str, rng: Generator) -> bytes:
    return json.dumps(
        {"text": text, "n": int(rng.integers(9))}, ensure_ascii=bool(rng.integers(2))
    ).encode()


def odd_json(rng: Generator) -> bytes:
    return pick(
        [pick(ODD_ROWS, rng), noise(rng, b"\n"), b'{"text": "' + odd_text(rng) + b'"}'], rng
    )


def odd_fields(mark: bytes) -> Odd:
    return lambda rng: mark.join([odd_text(rng)] * int(rng.choice([1, 2, 2, 3])))


def lines(
    good: list[str], rng: Generator, row: Callable[[str, Generator], bytes], odd: Odd
) -> list[bytes]:
    """Return good rows, each among some odd ones."""
    found = []
    for text in good:
        found += [odd(rng) for _ in range(rng.integers(3))] + [row(text, rng)]
    return [*found, odd(rng)]


def parquet_file(path: Path, good: list[str], rng: Generator) -> None:
    values = [*(text.encode() for text in good), *(odd_text(rng) for _ in range(4)), None]
    strings = pyarrow.array(
        [values[place] for place in rng.permutation(len(values))], type=pyarrow.binary()
    )
    table = pyarrow.table({"text": strings.cast(pyarrow.string(), safe=False)})
    parquet.write_table(
        table,
        path,
        row_group_size=int(rng.integers(1, 9)),
        compression=pick(["none", "zstd", "gzip"], rng),
    )


def content(ending: str, good: list[str], rng: Generator) -> bytes:
    """Return a file in which every good text is sound, with odd neighbours."""
    end = pick([b"\n", b"\r\n"], rng)
    if ending.startswith(".jsonl"):
        return end.join(lines(good, rng, json_row, odd_json))
    if ending.startswith(".txt"):
        return (end + b" " + end).join(lines(good, rng, lambda text, _: text.encode(), odd_text))
    mark = b"," if ending.startswith(".csv") else b"\t"
    return end.join(
        [
            b"n" + mark + b"text",
            *lines(good, rng, lambda text, _: b"1" + mark + text.encode(), odd_fields(mark)),
        ]
    )


def packed(data: bytes, ending: str) -> bytes:
    if ending.endswith(".gz"):
        return gzip.compress(data, 1, mtime=0)
    return (
        bytes(pyarrow.compress(data, codec="zstd", asbytes=True))
        if ending.endswith(".zst")
        else data
    )


def write_fuzzed(path: Path, good: list[str], rng: Generator) -> None:
    if path.suffix == ".parquet":
        parquet_file(path, good, rng)
    else:
        ending = "".join(path.suffixes)
        path.write_bytes(packed(content(ending, good, rng), ending))


def damage(data: bytes, rng: Generator) -> bytes:
    """Cut, flip, double or put in some bytes, a few times over."""
    for _ in range(rng.integers(1, 4)):
        first, last = sorted(rng.integers(0, len(data) + 1, 2).tolist())
        last = min(last, first + 40)
        flipped = bytes(byte ^ int(rng.integers(256)) for byte in data[first:last])
        middle = pick(
            [b"", flipped, data[first:last] * 3, noise(rng, b""), bytes(last - first)], rng
        )
        data = data[:first] + middle + (b"" if rng.random() < 0.2 else data[last:])
        data = data or b"\x00"
    return data


def check_balance(path: Path, config: ReaderConfig) -> list[Document | Rejection] | None:
    """Read a file as a build does, twice, and count for oneself; None: it was refused with a
    message.
    """
    inputs = [SourceInput("text", FileInput(path))]
    try:
        items = list(read_documents(FileInput(path), config))
    except UserError:
        return None
    texts = [item.text for item in items if isinstance(item, Document)]
    seen = SeenTexts(Path(":memory:"))
    if not texts:
        with pytest.raises(UserError, match="no usable document"):
            scan(inputs, config, 0, seen, {"text": HeldoutRule(0.1, 1)}, None)
        return items
    found = scan(inputs, config, 0, seen, {"text": HeldoutRule(0.1, 1)}, None)
    numbered = numbered_documents(inputs, found.documents, config, 0, 0)
    cut = list(cut_shards(numbered, lambda number, digest: seen.first(digest) == number, 2000, 0))
    seen.close()
    used, rejected = len(set(texts)), len(items) - len(texts)
    assert (found.documents, found.used) == ([len(items)], used)
    assert sum(shard.read for shard in cut) == len(items)
    assert sum(len(shard.documents) for shard in cut) == used
    assert sum(len(shard.rejected) for shard in cut) == rejected
    assert sum(shard.duplicates for shard in cut) == len(items) - used - rejected
    for text in texts:
        assert 0 < len(text) <= config.maximum_characters
        text.encode()
    return items


def good_texts(seed: int) -> list[str]:
    """Short texts that no other seed has; one comes twice."""
    texts = [
        f"Good text {seed} {number}: plain words, caf\u00e9 \u4e2d\u6587."
        for number in range(seed % 6)
    ]
    return [text.replace(",", ";") for text in [*texts, *texts[:1]]]


def config_of(seed: int) -> ReaderConfig:
    return ReaderConfig(
        text_documents="blank_line", errors="repair" if seed % 3 == 0 else "skip", **LIMITS
    )


def fuzz(folder: Path, seed: int) -> None:
    """One file of each kind: good texts beside odd ones, then the same file damaged."""
    rng = np.random.default_rng(seed)
    path = folder / f"a{FORMATS[seed % len(FORMATS)]}"
    good = good_texts(seed)
    write_fuzzed(path, good, rng)
    items = check_balance(path, config_of(seed))
    assert items is not None
    assert set(good) <= {item.text for item in items if isinstance(item, Document)}
    path.write_bytes(damage(path.read_bytes(), rng))
    check_balance(path, config_of(seed))


@pytest.mark.parametrize("first", range(0, 1000, GROUP))
def test_fuzzed_files_lose_nothing_in_silence(tmp_path: Path, first: int) -> None:
    """Two inputs a seed: 2,000 in all."""
    for seed in range(first, first + GROUP):
        fuzz(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 10_000, 1000))
def test_more_fuzzed_files_lose_nothing_in_silence(tmp_path: Path, first: int) -> None:
    """18,000 more, which makes 20,000."""
    for seed in range(first, first + 1000):
        fuzz(tmp_path, seed)


@pytest.mark.parametrize("seed", range(4))
def test_builds_of_fuzzed_files_balance(tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    good: list[str] = []
    for number, ending in enumerate(FORMATS):
        texts = good_texts(1000 * seed + 6 * number + 5)
        write_fuzzed(folder / f"{number:02d}{ending}", texts, np.random.default_rng([seed, number]))
        good += texts
    reader = config_of(seed)
    items = [
        item
        for path in sorted(folder.iterdir())
        for item in read_documents(FileInput(path), reader)
    ]
    settings: dict[str, Any] = {
        "layers": {},
        "shard_bytes": 3000,
        "tokenizer": {"vocabulary_size": 300, "minimum_frequency": 1},
    }
    result = make_corpus([str(folder)], tmp_path / "corpus", reader=reader.model_dump(), **settings)
    documents = result["documents"]
    assert (
        documents["read"]
        == len(items)
        == documents["used"] + documents["rejected"] + documents["duplicates"]
    )
    rejected = [item for item in items if isinstance(item, Rejection)]
    log = [
        json.loads(line)
        for line in (tmp_path / "corpus" / "rejects.jsonl").read_text("utf-8").splitlines()
    ]
    assert (
        len(log)
        == documents["rejected"]
        == len(rejected) + result["rejections"].get("no_tokens", 0)
    )
    assert {item.identifier for item in rejected} <= {row["document"] for row in log}
    assert documents["used"] >= len(set(good))
