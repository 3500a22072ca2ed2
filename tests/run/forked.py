"""Worker processes that start in a moment: forked from a process that has imported everything and trained nothing."""

import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from ernie_cmtl.cli import show_run  # noqa: F401
from ernie_cmtl.cli.verbs import main
from ernie_cmtl.config import RunConfig
from ernie_cmtl.settings import dump

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload([__name__])


class Worker:
    """One worker, handled as a `subprocess.Popen` is."""

    def __init__(self, words: list[str], variables: dict[str, str], output: Path) -> None:
        self._process = _SERVER.Process(target=_work, args=(words, variables, output))
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
    """Start the workers of a run without a launcher, each in a process group of its own; they write to folder/worker-RANK.out."""
    path = folder / "run.yaml"
    path.write_text(dump(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(workers), "CUDA_VISIBLE_DEVICES": ""}
    words = ["launch.py", "pretrain", str(path), "--json"]
    return [
        Worker(words, shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, folder / f"worker-{rank}.out")
        for rank in range(workers)
    ]


def _work(words: list[str], variables: dict[str, str], output: Path) -> None:
    """Be one worker: what `python launch.py` does, with its streams in files."""
    os.setsid()
    for number, path in ((1, output), (2, output.with_suffix(".err"))):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    os.environ |= variables
    torch.set_num_threads(1)
    sys.argv = words
    main()
