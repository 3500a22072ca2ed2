"""One process at a time writes in a folder; a dead one stops nobody; a lost right is noticed."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from ernie_cmtl import sole_writer as module
from ernie_cmtl.errors import UserError
from ernie_cmtl.sole_writer import HOLDER, LOCK, sole_writer


def hold(folder: Path, ready: Connection) -> None:
    with sole_writer(folder, ()):
        ready.send(None)
        time.sleep(600)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[multiprocessing.Process]:
    """Another process that writes in tmp_path/run."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=hold, args=(tmp_path / "run", sender)
    )
    process.start()
    receiver.recv()
    yield process
    process.kill()
    process.join()


def take(folder: Path, seconds: float = 30.0) -> float:
    """Return how long it takes to become the writer."""
    start = time.monotonic()
    with sole_writer(folder, ()):
        taken = time.monotonic() - start
    assert taken < seconds
    return taken


def test_the_second_is_refused_soon_and_told_host_process_and_start(
    holder: multiprocessing.Process, tmp_path: Path
) -> None:
    start = time.monotonic()
    with pytest.raises(UserError) as refused:
        take(tmp_path / "run")
    assert time.monotonic() - start < 10
    since = json.loads((tmp_path / "run" / HOLDER).read_text())["since"]
    name = (
        f"process {holder.pid} on {socket.gethostname()}, since {since}, writes in "
        f"{tmp_path / 'run'};"
    )
    assert str(refused.value).startswith(name)
    assert str(tmp_path / "run" / LOCK) in str(refused.value)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_process_of_this_machine_stops_nobody(
    holder: multiprocessing.Process, tmp_path: Path, number: int
) -> None:
    os.kill(holder.pid or 0, number)
    holder.join()
    assert (tmp_path / "run" / LOCK).exists()
    assert take(tmp_path / "run") < 1


def elsewhere(folder: Path) -> None:
    """Let the lock be one of another machine, of which nothing can be said but whether the lock is
    touched.
    """
    path = folder / LOCK
    lines = [
        "host=elsewhere" if line.startswith("host=") else line
        for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join([*lines, ""]))


def test_a_dead_process_of_another_machine_stops_nobody_for_long(
    holder: multiprocessing.Process,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    holder.kill()
    holder.join()
    elsewhere(tmp_path / "run")
    lock = (tmp_path / "run" / LOCK).read_text()
    (tmp_path / "run" / LOCK).write_text(lock.replace("duration=60.0", "duration=2.0"))
    monkeypatch.setattr(module, "_LEASE_SECONDS", 2.0)
    monkeypatch.setattr(module, "_BEAT_SECONDS", 0.2)
    assert 1.5 < take(tmp_path / "run") < 10
    assert f"process {holder.pid} on {socket.gethostname()}, since" in caplog.text
    assert "waiting up to 2 s for a sign of life" in caplog.text


def test_a_living_process_of_another_machine_is_known_by_its_signs_of_life(
    holder: multiprocessing.Process, tmp_path: Path
) -> None:
    elsewhere(tmp_path / "run")
    (tmp_path / "run" / HOLDER).unlink()
    with pytest.raises(UserError, match=f"process {holder.pid} on elsewhere writes in"):
        take(tmp_path / "run")


def test_one_that_was_stopped_and_taken_over_learns_of_it_and_leaves_the_lock_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BEAT_SECONDS", 0.05)
    with sole_writer(tmp_path / "run", ()) as writer:
        writer.check()
        path = tmp_path / "run" / LOCK
        other = path.read_text().replace(f"pid={os.getpid()}", "pid=1")
        path.unlink()
        path.write_text(other)
        (tmp_path / "run" / HOLDER).write_text(
            json.dumps({"host": "there", "process": 1, "since": "noon"})
        )
        time.sleep(2)
        with pytest.raises(UserError, match=r"^process 1 on there, since noon, writes in"):
            writer.check()
    assert path.read_text() == other
    assert (tmp_path / "run" / HOLDER).exists()


def test_a_folder_that_was_made_and_stayed_empty_goes_and_one_that_was_there_stays(
    tmp_path: Path,
) -> None:
    (tmp_path / "there").mkdir()
    for name in ("there", "new"):
        with sole_writer(tmp_path / name, ()):
            assert {path.name for path in (tmp_path / name).iterdir()} == {LOCK, HOLDER}
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert not list((tmp_path / "there").iterdir())


def test_the_lock_is_free_after_an_error_and_again_in_the_same_process(tmp_path: Path) -> None:
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt), sole_writer(tmp_path, ()):
            raise KeyboardInterrupt


PLANTED: dict[str, Callable[[Path], object]] = {
    "a link": lambda path: path.symlink_to("/etc/hostname"),
    "a link to nothing": lambda path: path.symlink_to("/nonexistent/file"),
    "a link to a folder": lambda path: path.symlink_to("/etc"),
    "a pipe": os.mkfifo,
}


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize(
    "place", ["part", "part.partial", "folder/part", "folder/below/part", "foreign"]
)
def test_a_part_that_is_a_link_is_refused_by_name(tmp_path: Path, kind: str, place: str) -> None:
    if place == "foreign" and kind == "a pipe":
        pytest.skip("what others fill is theirs")
    (tmp_path / "folder" / "below").mkdir(parents=True)
    PLANTED[kind](tmp_path / place)
    message = "is neither a file" if kind == "a pipe" else "is a symbolic link to /"
    with (
        pytest.raises(UserError, match=f"{tmp_path / place} {message}"),
        sole_writer(tmp_path, ("part", "folder"), ("foreign",)),
    ):
        pass
    assert not (tmp_path / LOCK).exists()


def test_links_of_a_persons_own_and_below_what_others_fill_are_none_of_our_business(
    tmp_path: Path,
) -> None:
    (tmp_path / "wandb").mkdir()
    for link in (tmp_path / "best", tmp_path / "wandb" / "latest-run"):
        link.symlink_to("/etc")
    with sole_writer(tmp_path, ("checkpoints",), ("wandb",)):
        pass
    assert (tmp_path / "best").is_symlink()


@pytest.mark.parametrize("name", ["", LOCK, HOLDER])
def test_a_folder_or_lock_that_is_a_link_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").mkdir()
    if name:
        (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match="is a symbolic link to"), sole_writer(tmp_path / "run", ()):
        pass
    assert not list((tmp_path / "outside").iterdir())


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match=r"cannot be written: .*MB are free"),
        sole_writer(tmp_path / "file" / "run", ()),
    ):
        pass


def test_a_forked_process_does_not_keep_the_lock_of_its_killed_parent(tmp_path: Path) -> None:
    """As the processes that load data."""
    code = f"""
import os, time
from pathlib import Path
from ernie_cmtl.sole_writer import sole_writer
with sole_writer(Path({str(tmp_path / "run")!r}), ()):
    if not os.fork():
        print(os.getpid(), flush=True)
    time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        process.kill()
        process.wait()
        try:
            assert take(tmp_path / "run") < 1
        finally:
            os.kill(child, signal.SIGKILL)
