"""Worker processes that start in a moment: forked from a process that has imported everything and
trained nothing.
"""

import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch.distributed import run as torchrun  # noqa: F401

from ernie_cmtl.cli import training_view  # noqa: F401
from ernie_cmtl.cli.app import main
from ernie_cmtl.config import RunConfig
from ernie_cmtl.settings import dump

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload([__name__])


class Worker:
    """One worker, handled as a `subprocess.Popen` is."""

    def __init__(
        self,
        words: list[str],
        variables: dict[str, str],
        output: Path,
        program: Callable[[], object] = main,
    ) -> None:
        self._process = _SERVER.Process(target=_work, args=(words, variables, output, program))
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._process.exitcode

    def wait(self, seconds: float) -> int:
        """Wait for the end and return the exit code."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self.pid), seconds)
        return self._process.exitcode

    def kill(self) -> None:
        """End it without notice."""
        self._process.kill()


def started(config: RunConfig, folder: Path, workers: int) -> list[Worker]:
    """Start the workers of a run without a launcher, each in a process group of its own; they write
    to folder/worker-RANK.out.
    """
    path = folder / "run.yaml"
    path.write_text(dump(config))
    words = ["launch.py", "pretrain", str(path), "--json"]
    return [
        Worker(words, variables, folder / f"worker-{rank}.out")
        for rank, variables in enumerate(_variables(workers))
    ]


def together(work: Callable[..., Any], *given: Any, folder: Path, count: int = 2) -> list[Any]:
    """Call a function in each of some workers of a group, and return what they return; they write
    to folder/worker-RANK.err.
    """
    ends = []
    for rank, variables in enumerate(_variables(count)):
        receiver, sender = _SERVER.Pipe(duplex=False)
        process = _SERVER.Process(
            target=_answer, args=(sender, work, given, variables, folder / f"worker-{rank}.out")
        )
        process.start()
        sender.close()
        ends.append((process, receiver))
    try:
        return [
            _received(receiver, folder / f"worker-{rank}.err")
            for rank, (_, receiver) in enumerate(ends)
        ]
    finally:
        for process, _ in ends:
            process.kill()
            process.join()


def _received(receiver: Connection, errors: Path) -> Any:
    try:
        assert receiver.poll(120), "no answer"
        return receiver.recv()
    except (AssertionError, EOFError) as error:
        raise AssertionError(f"{error}: {errors.read_text()[-2000:]}") from None


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _variables(workers: int) -> list[dict[str, str]]:
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(workers),
        "CUDA_VISIBLE_DEVICES": "",
    }
    # Without it, accelerate gives a launched worker as many threads as there are cores, whose sums
    # are in another order.
    shared["OMP_NUM_THREADS"] = "1"
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(workers)]


def _work(
    words: list[str], variables: dict[str, str], output: Path, program: Callable[[], object]
) -> None:
    """Be one worker: what `python launch.py` does, or another program."""
    _become(variables, output)
    sys.argv = words
    program()


def _answer(
    sender: Connection,
    work: Callable[..., Any],
    given: tuple[Any, ...],
    variables: dict[str, str],
    output: Path,
) -> None:
    _become(variables, output)
    sender.send(work(*given))


def _become(variables: dict[str, str], output: Path) -> None:
    """Be a worker, with its streams in files."""
    os.setsid()
    for number, path in ((1, output), (2, output.with_suffix(".err"))):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    os.environ |= variables
    torch.set_num_threads(1)
