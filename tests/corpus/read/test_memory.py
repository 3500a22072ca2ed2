"""Lines and files of any size are read in bounded memory; each is measured in a process of its
own.
"""

import gzip
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

MEGABYTE = 1 << 20
MOST = 512
"""Megabytes above what the process takes before it reads."""
READ = """
import sys
from collections import Counter
from pathlib import Path
import pyarrow
from ernie_cmtl.corpus.read.documents import read_documents
from ernie_cmtl.corpus.read.inputs import FileInput
from ernie_cmtl.corpus.read.reader_config import ReaderConfig

def memory(name):
    lines = open("/proc/self/status")
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024

config = ReaderConfig(text_documents=sys.argv[2], encoding=sys.argv[3])
found = Counter()
before = memory("VmRSS")
for item in read_documents(FileInput(Path(sys.argv[1])), config):
    found[getattr(item, "reason", "ok")] += 1
counts = (f"{reason}={count}" for reason, count in sorted(found.items()))
print(round(memory("VmHWM") - before), *counts)
"""
WIDE = "\U0001f600".encode()
"""One such character makes Python keep four bytes for every other one."""


def pieces(kind: str, size: int) -> Iterator[bytes]:
    """Yield a file with one line of about a size, in bytes, between two short documents."""
    words = b"some words " * (MEGABYTE // 11)
    begin, middle, end, after = {
        "jsonl": (b'{"text": "one"}\n{"text": "' + WIDE, words, b'"}\n', b'{"text": "two"}\n'),
        "objects": (
            b'{"text": "one"}\n{"text": "x", "o": [',
            b"{}," * (MEGABYTE // 3),
            b"{}]}\n",
            b'{"text": "two"}\n',
        ),
        "csv": (b'text\none\n"' + WIDE, words, b'"\n', b"two\n"),
        "tsv": (b"text\none\n" + WIDE, words, b"\n", b"two\n"),
        "txt": (b"one\n\n" + WIDE, words, b"\n\n", b"two\n"),
    }[kind]
    yield begin
    yield from (middle for _ in range(size // len(middle)))
    yield from (end, after)


def measure(
    path: Path, mode: str = "blank_line", encoding: str = "utf-8"
) -> tuple[int, dict[str, int]]:
    """Return the megabytes that reading a file takes, and how many documents there were of each
    reason.
    """
    words = [sys.executable, "-c", READ, str(path), mode, encoding]
    memory, *found = subprocess.run(
        words, check=True, capture_output=True, text=True
    ).stdout.split()
    return int(memory), {
        reason: int(count) for reason, count in (word.split("=") for word in found)
    }


def write(path: Path, kind: str, size: int) -> Path:
    with gzip.open(path, "wb", 1) if path.suffix == ".gz" else path.open("wb") as stream:
        for piece in pieces(kind, size):
            stream.write(piece)
    return path


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
@pytest.mark.parametrize(
    ("size", "outcome"),
    [(64, {"line_too_long": 1, "ok": 2}), (15, {"ok": 18})],
    ids=["64 MB", "15 MB"],
)
def test_a_giant_line_of_a_table_takes_bounded_memory(
    tmp_path: Path, kind: str, size: int, outcome: dict[str, int]
) -> None:
    """Beyond the limit the line is rejected; below it is cut into documents. Its neighbours are
    kept.
    """
    memory, found = measure(write(tmp_path / f"a.{kind}", kind, size * MEGABYTE))
    assert found == outcome
    assert memory <= MOST


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.parametrize(("kind", "count"), [("csv", {"line_too_long": 1, "ok": 2}), ("txt", None)])
def test_a_giant_line_in_another_encoding_takes_bounded_memory(
    tmp_path: Path, kind: str, count: dict[str, int] | None
) -> None:
    path = tmp_path / f"a.{kind}"
    with path.open("wb") as stream:
        for piece in pieces(kind, 64 * MEGABYTE):
            stream.write(piece.decode().encode("utf-16-le"))
    memory, found = measure(path, encoding="utf-16-le")
    assert found == count if count else found["ok"] >= 64
    assert memory <= MOST


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.parametrize("size", [64, 15])
def test_a_line_of_many_small_objects_takes_bounded_memory(tmp_path: Path, size: int) -> None:
    """What is parsed is twenty times as large as the line."""
    memory, found = measure(write(tmp_path / "a.jsonl", "objects", size * MEGABYTE))
    assert found == ({"ok": 3} if size == 15 else {"line_too_long": 1, "ok": 2})
    assert memory <= MOST


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.parametrize(("ending", "mode"), [(".txt", "blank_line"), (".txt.gz", "file")])
def test_a_giant_line_of_text_is_cut_and_kept_in_bounded_memory(
    tmp_path: Path, ending: str, mode: str
) -> None:
    memory, found = measure(write(tmp_path / f"a{ending}", "txt", 64 * MEGABYTE), mode)
    assert found["ok"] >= 64
    assert list(found) == ["ok"]
    assert memory <= MOST


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_a_table_that_names_few_long_values_often_takes_bounded_memory(tmp_path: Path) -> None:
    """Two thousand rows of a megabyte each stand in a file of a few hundred kilobytes."""
    values = pyarrow.array([str(number) + "x" * MEGABYTE for number in range(3)])
    rows = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([number % 3 for number in range(2000)], pyarrow.int32()), values
    )
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": rows}), path, dictionary_pagesize_limit=1 << 30)
    assert path.stat().st_size < MEGABYTE
    memory, found = measure(path)
    assert found == {"ok": 4000}
    assert memory <= MOST


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "txt"])
def test_a_line_of_a_gigabyte_takes_bounded_memory(tmp_path: Path, kind: str) -> None:
    memory, found = measure(write(tmp_path / f"a.{kind}", kind, 1024 * MEGABYTE))
    assert found["ok"] > 1000 if kind == "txt" else found == {"line_too_long": 1, "ok": 2}
    assert memory <= MOST
