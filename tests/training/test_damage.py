"""What a disk may do to checkpoints: saves that fail at any point, and files that change after they
were written.
"""

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch

from ernie_cmtl.errors import UserError
from ernie_cmtl.training import checkpoint
from ernie_cmtl.training.checkpoint import load_state, set_aside_damaged, verify_checkpoint
from ernie_cmtl.training.checkpoint_tensors import load_optimizer, load_weights
from tests.support.checkpoints import files_at_most, moments, names, new_pair, save_pair, train

ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS)
CALLS = ("mkdir", "open", "fsync", "rename")
FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "SHA256SUMS")


def trained_save(folder: Path, step: int, keep: int = 2) -> Path:
    """Save a pair trained so many steps: checkpoints of different steps differ in every file."""
    model, optimizer = new_pair(1)
    train(model, optimizer, step, seed=2)
    return save_pair(folder, model, optimizer, step, keep)


def check_loads(path: Path, step: int) -> None:
    """Everything in a checkpoint is that of the pair trained so many steps."""
    model, optimizer = new_pair(9)
    load_weights(path, model)
    load_optimizer(path, model, optimizer)
    expected, expected_optimizer = new_pair(1)
    train(expected, expected_optimizer, step, seed=2)
    verify_checkpoint(path)
    assert load_state(path)[0].step == step
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True)
    )
    found, wanted = moments(model, optimizer), moments(expected, expected_optimizer)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


@contextmanager
def failing(name: str, number: int, code: int) -> Iterator[list[int]]:
    """Let the call of that number of an `os` function fail; yields the calls made."""
    real: Callable[..., object] = getattr(os, name)
    calls: list[int] = []

    def call(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == number:
            raise OSError(code, os.strerror(code))
        return real(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, name, call)
        yield calls


def fails(folder: Path, fault: AbstractContextManager[object]) -> bool:
    """Save over an older checkpoint with a fault; tell whether the save failed, which the older one
    and the next save outlive.
    """
    shutil.rmtree(folder, ignore_errors=True)
    trained_save(folder, 3, keep=1)
    problem = ""
    with fault:
        try:
            trained_save(folder, 5, keep=1)
        except UserError as error:
            problem = str(error)
    assert ("step-3" if problem else "step-5") in names(folder)
    assert not problem or re.search(
        r"step 5 could not be saved .* the run resumes from step-3$", problem
    )
    # There is never a half of one.
    for name in names(folder):
        check_loads(folder / name, int(name.removeprefix("step-")))
    check_loads(trained_save(folder, 6, keep=1), 6)
    assert [path.name for path in folder.iterdir()] == ["step-6"]
    return bool(problem)


def test_a_save_that_fails_at_any_call_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    failed: dict[str, list[bool]] = {}
    for name in CALLS:
        trained_save(tmp_path / "counted", 3, keep=1)
        with failing(name, 0, 0) as calls:
            trained_save(tmp_path / "counted", 5, keep=1)
        shutil.rmtree(tmp_path / "counted")
        points = [(number, code) for number in range(1, len(calls) + 1) for code in ERRORS]
        failed[name] = [
            fails(tmp_path / "run", failing(name, number, code)) for number, code in points
        ]
    # That something which is no longer kept cannot be removed fails no save.
    assert {name: (len(points), sum(points)) for name, points in failed.items()} == {
        "mkdir": (3, 3),
        "open": (21, 18),
        "fsync": (18, 18),
        "rename": (6, 3),
    }


def test_a_save_that_fails_at_any_write_leaves_the_older_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "sync", lambda path: None)
    path = trained_save(tmp_path / "whole", 5)
    sizes = sorted(file.stat().st_size for file in path.iterdir())
    limits = sorted(
        {0, *(size - 1 for size in sizes), *range(1, sizes[-1], max(1, sizes[-1] // 60))}
    )
    assert len(limits) >= 60
    assert all(fails(tmp_path / "run", files_at_most(limit)) for limit in limits)


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :]


def damages(path: Path, other: Path) -> Iterator[bytes | None]:
    """Yield contents of a file that are not what was written: None where it is gone."""
    data = path.read_bytes()
    places = sorted({0, 1, 7, 8, 9, *(len(data) * part // 16 for part in range(16)), len(data) - 1})
    yield from (data[:place] for place in places)
    yield from (flipped(data, place) for place in places)
    yield from (None, b"", data + b"\n", bytes(len(data)), other.read_bytes())


def test_damage_to_any_file_is_found_and_named(tmp_path: Path) -> None:
    older, newer = trained_save(tmp_path, 3), trained_save(tmp_path, 5)
    found = 0
    for name in FILES:
        original = (newer / name).read_bytes()
        for damaged in damages(newer / name, older / name):
            (newer / name).unlink()
            if damaged is not None:
                (newer / name).write_bytes(damaged)
            # Where the sums are wrong, they cannot say which file is.
            with pytest.raises(UserError, match=name if name != "SHA256SUMS" else "damaged"):
                verify_checkpoint(newer)
            (newer / name).write_bytes(original)
            found += 1
    verify_checkpoint(newer)
    assert found >= 100


def test_checkpoints_with_each_others_files_are_found(tmp_path: Path) -> None:
    older, newer = trained_save(tmp_path, 3), trained_save(tmp_path, 5)
    for name in FILES:
        aside = (older / name).rename(tmp_path / "aside")
        (newer / name).rename(older / name)
        aside.rename(newer / name)
        for path in (older, newer):
            with pytest.raises(checkpoint.DamagedError):
                verify_checkpoint(path)
        (older / name).rename(aside)
        (newer / name).rename(older / name)
        aside.rename(newer / name)
    check_loads(older, 3)


def test_damaged_checkpoints_are_set_aside_down_to_the_newest_intact_one(tmp_path: Path) -> None:
    for step in (3, 4, 5, 6):
        trained_save(tmp_path, step, keep=9)
    (tmp_path / "step-6" / "SHA256SUMS").unlink()
    (tmp_path / "step-5" / "state.json").write_text("{}")
    (tmp_path / "step-3" / "state.json").unlink()
    problems = set_aside_damaged(tmp_path)
    assert [problem.split(" is damaged")[0][-6:] for problem in problems] == ["step-6", "step-5"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "damaged-step-5",
        "damaged-step-6",
        "step-3",
        "step-4",
    ]
    assert set_aside_damaged(tmp_path) == []


def test_a_run_without_an_intact_checkpoint_does_not_begin_anew(tmp_path: Path) -> None:
    for step in (3, 4):
        (trained_save(tmp_path, step) / "model.safetensors").unlink()
    with pytest.raises(
        UserError, match=r"no checkpoint in .* is intact: .*step-4 .*model.safetensors; .*step-3 .*"
    ):
        set_aside_damaged(tmp_path)
    assert names(tmp_path) == ["step-3", "step-4"]
    assert set_aside_damaged(tmp_path / "none") == []
