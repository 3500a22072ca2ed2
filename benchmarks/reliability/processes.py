"""Attempts in processes of their own, forked from one that has imported everything and trained
nothing; and what they leave.
"""

import gc
import importlib
import json
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from benchmarks.reliability.attempt import Attempt
from benchmarks.reliability.sides import SIDES

FORK = multiprocessing.get_context("fork")
MOST_SECONDS = 60


def started(side: str, attempt: Attempt) -> Any:
    """Start one worker of a side, silent."""

    def child() -> None:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        (attempt.folder / "saving").unlink(missing_ok=True)
        SIDES[side](attempt)

    attempt.folder.mkdir(parents=True, exist_ok=True)
    process = FORK.Process(target=child)
    process.start()
    return process


def import_what_runs_import(attempt: Attempt) -> None:
    """Import what each side does while it runs, so that no other start spends time on it."""
    for number, (side, train) in enumerate(SIDES.items()):
        listed = attempt.folder / f"{number}.txt"

        def child(
            train: Callable[[Attempt], None] = train, number: int = number, listed: Path = listed
        ) -> None:
            train(replace(attempt, folder=attempt.folder / str(number)))
            listed.write_text("\n".join(sys.modules))

        (attempt.folder / str(number)).mkdir(parents=True)
        process = FORK.Process(target=child)
        process.start()
        assert succeeds(process), side
        for name in listed.read_text().split():
            if name not in sys.modules:
                with suppress(Exception):
                    importlib.import_module(name)
    gc.freeze()


def succeeds(process: Any) -> bool:
    process.join(MOST_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    return bool(process.exitcode == 0)


def run(side: str, attempt: Attempt) -> bool:
    """Run a side with all its workers; tell whether it ended well."""
    if attempt.workers == 1:
        return succeeds(started(side, attempt))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free.getsockname()[1]),
            "WORLD_SIZE": str(attempt.workers),
        }
    processes = []
    for rank in range(attempt.workers):
        os.environ |= shared | {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": str(attempt.workers),
        }
        processes.append(started(side, replace(attempt, rank=rank)))
    for name in (*shared, "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        del os.environ[name]
    ends = [succeeds(process) for process in processes]
    return all(ends)


def steps(folder: Path) -> dict[int, list[dict[str, Any]]]:
    """Step -> what each of its workers wrote last; a run that goes on takes steps again, maybe with
    fewer workers.
    """
    found: dict[int, list[dict[str, Any]]] = {}
    for rank, path in enumerate(sorted(folder.glob("log-*.jsonl"))):
        text = path.read_text()
        lines = {
            line["step"]: line
            for line in map(json.loads, text[: text.rfind("\n") + 1].splitlines())
        }
        for step, line in lines.items():
            if rank == 0 or found[step][0]["workers"] > rank:
                found.setdefault(step, []).append(line)
    return dict(sorted(found.items()))


def trace(folder: Path, key: str) -> list[Any]:
    """Return the rows, inputs or loss of each step over all workers."""
    parts = steps(folder).values()
    return [sum((line[key] for line in lines), [] if key != "loss" else 0.0) for lines in parts]


def end(folder: Path) -> dict[str, torch.Tensor]:
    path = folder / "end.safetensors"
    return load_file(path) if path.exists() else {}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return (
        bool(first)
        and first.keys() == second.keys()
        and all(torch.equal(first[name], second[name]) for name in first)
    )


def wait_until(true: Callable[[], bool], process: Any) -> None:
    deadline = time.monotonic() + MOST_SECONDS
    while not true() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.0005)


def last_step(folder: Path) -> int:
    log = folder / "log-0.jsonl"
    return len(log.read_text().splitlines()) if log.exists() else 0
