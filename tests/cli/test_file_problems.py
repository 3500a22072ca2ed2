"""A full disk, or a folder or file without permission, is one message in each verb; afterwards the
same command succeeds.
"""

import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ernie_cmtl.atomic_files import file_problems_told, write_text
from ernie_cmtl.corpus.build.seen_texts import SeenTexts
from ernie_cmtl.errors import UserError
from tests.support.checkpoints import files_at_most
from tests.support.command_line import Line, call

_DENIED: list[tuple[Path, bool]] = []


def _deny(event: str, arguments: tuple[object, ...]) -> None:
    """Stand in for permissions, which do not bind the administrator."""
    if not _DENIED or event not in ("open", "os.mkdir", "os.listdir", "os.scandir", "os.rename"):
        return
    name = arguments[0]
    if not isinstance(name, (str, bytes, os.PathLike)):
        return
    path = Path(os.fsdecode(name))
    writes = event in ("os.mkdir", "os.rename") or (
        event == "open" and bool(int(str(arguments[2])) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    )
    for folder, writing in _DENIED:
        if writes == writing and (path == folder or folder in path.parents):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


# It cannot be taken away again, so it does nothing while the list is empty.
sys.addaudithook(_deny)


@contextmanager
def denied(folder: Path, writing: bool) -> Iterator[None]:
    _DENIED.append((folder, writing))
    try:
        yield
    finally:
        _DENIED.clear()


Words = list[str | Path]
Verb = Callable[[Line, Path], Words]


def refused(words: Words) -> str:
    """Return the one message that a call is refused with."""
    done = call(*words)
    assert done.exit_code == 2, (done.exit_code, done.exception, done.stderr)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.startswith("error:")]
    return " ".join(lines[place:])


def _run(line: Line, folder: Path) -> Path:
    if not (folder / "run").exists():
        shutil.copytree(line.run, folder / "run")
    return folder / "run"


WRITING: dict[str, Verb] = {
    "prepare": lambda line, folder: [
        *("prepare", "--input", line.folder / "text.jsonl", "--output", folder / "corpus"),
        *("--language", "en", "--vocabulary-size", "1200", "--processes", "1"),
    ],
    "pretrain": lambda line, folder: ["pretrain", line.config, f"run={folder / 'run'}"],
    "extend": lambda line, folder: [
        *("extend", _run(line, folder), "--task", "capitalization", "--budget", "2")
    ],
    "export": lambda line, folder: ["export", line.run, "--output", folder / "model"],
}


@pytest.mark.parametrize("size", [0, 3000, 12_000])
@pytest.mark.parametrize("verb", WRITING)
def test_a_full_disk(line: Line, tmp_path: Path, verb: str, size: int) -> None:
    words = WRITING[verb](line, tmp_path)
    with files_at_most(size):
        message = refused(words)
    assert str(tmp_path) in message
    done = call(*words)
    assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize("verb", WRITING)
def test_a_folder_that_may_not_be_written(line: Line, tmp_path: Path, verb: str) -> None:
    words = WRITING[verb](line, tmp_path)
    with denied(tmp_path, writing=True):
        assert "Permission denied" in refused(words)
    done = call(*words)
    assert done.exit_code == 0, done.stderr


READING: dict[str, Verb] = {
    "prepare": WRITING["prepare"],
    "inspect": lambda line, _: ["inspect", "knowledge_masking", "--corpus", line.corpus],
    "plan": lambda line, _: ["plan", line.config],
    "pretrain": WRITING["pretrain"],
    "evaluate": lambda line, _: ["evaluate", line.run],
    "extend": WRITING["extend"],
    "export": WRITING["export"],
    "bench": lambda line, folder: ["bench", line.config, f"run={folder / 'run'}"],
    "check": lambda line, _: ["tasks", "check", "capitalization", "--corpus", line.corpus],
}


@pytest.mark.parametrize("part", ["text.jsonl", "corpus", "run", "run.yaml"])
@pytest.mark.parametrize("verb", READING)
def test_a_file_that_may_not_be_read(line: Line, tmp_path: Path, verb: str, part: str) -> None:
    words = READING[verb](line, tmp_path)
    with denied(line.folder / part, writing=False):
        done = call(*words)
    assert done.exit_code in (0, 2), (done.exception, done.stderr)
    reads = {
        "text.jsonl": verb == "prepare",
        "corpus": verb != "prepare",
        # What is extended is a copy.
        "run": verb in ("evaluate", "export"),
        "run.yaml": verb in ("plan", "pretrain", "bench"),
    }
    assert (done.exit_code == 2) == reads[part]
    if done.exit_code:
        assert "Permission denied" in " ".join(done.stderr.split())


def test_a_foreign_folder(line: Line) -> None:
    """Of which the system itself says that nothing is made in it."""
    message = refused(["export", line.run, "--output", "/proc/model"])
    assert "/proc/model" in message


def test_a_write_that_fails_names_its_file_and_the_room(tmp_path: Path) -> None:
    room = rf"{tmp_path}/a: File too large \([\d,.]+ MB are free"
    with files_at_most(10), pytest.raises(UserError, match=room), file_problems_told():
        write_text(tmp_path / "a", "x" * 100)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error",
    [RuntimeError("I/O error: No space left on device (os error 28)"), OSError(28, "full")],
)
def test_a_full_disk_of_whatever_type(error: Exception) -> None:
    with pytest.raises(UserError, match="No space left on device; make room"), file_problems_told():
        raise error


@pytest.mark.parametrize("error", [ValueError("no"), ConnectionResetError(errno.ECONNRESET, "x")])
def test_another_error_stays_what_it_is(error: Exception) -> None:
    with pytest.raises(type(error)), file_problems_told():
        raise error


def test_a_database_that_is_full_or_damaged(tmp_path: Path) -> None:
    path = tmp_path / "seen.sqlite"
    seen = SeenTexts(path)
    many = (number.to_bytes(16, "big") for number in range(200_000))
    with files_at_most(8192), pytest.raises(OSError, match=str(path)):
        seen.add_known(many)
    seen.close()
    path.write_bytes(b"x" * 5000)
    with pytest.raises(UserError, match=r"is damaged.*--restart"):
        SeenTexts(path)
