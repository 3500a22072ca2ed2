"""A worker that is killed or stopped: the others end soon and name it, and nothing of the run stays
behind.
"""

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from tests.support.runs import (
    config_of,
    final_tensors,
    last_step,
    long_run,
    pretrain_command,
    same_tensors,
    trace,
    wait_until,
    with_training,
)
from tests.support.workers import Worker, started

TIMEOUT = 3.0
LOSSES = (signal.SIGKILL, signal.SIGSTOP)
SECONDS_TO_END = 30
"""After the timeout, on a machine that does other things too."""


def family(processes: Sequence[Worker]) -> list[psutil.Process]:
    return [
        child
        for process in processes
        for child in psutil.Process(process.pid).children(recursive=True)
    ]


def lose(
    english: Corpus, folder: Path, lost: int, number: int, workers: int = 2, sharding: str = "none"
) -> list[str]:
    """Send a signal to one of the workers; return what the others say once all of them have
    ended.
    """
    config = with_training(
        long_run(english, folder / "run"), worker_timeout_seconds=TIMEOUT, sharding=sharding
    )
    processes = started(config, folder, workers)
    try:
        wait_until(lambda: last_step(config.run) >= 3, processes)
        children = family(processes)
        assert len(children) >= 2 * workers
        os.kill(processes[lost].pid, number)
        others = [process for process in processes if process is not processes[lost]]
        assert [process.wait(TIMEOUT + SECONDS_TO_END) for process in others] == [1] * len(others)
        if number == signal.SIGSTOP:
            # It finds itself alone.
            os.kill(processes[lost].pid, signal.SIGCONT)
        assert processes[lost].wait(SECONDS_TO_END) != 0
        assert not psutil.wait_procs(children, timeout=SECONDS_TO_END)[1]
    finally:
        for process in processes:
            process.kill()
    owners = [process.pid for process in (*processes, *children)]
    assert not [
        path
        for path in Path("/dev/shm").iterdir()
        if any(f"_{owner}_" in path.name for owner in owners)
    ]
    return [
        " ".join((folder / f"worker-{rank}.err").read_text().split())
        for rank in range(workers)
        if rank != lost
    ]


@pytest.mark.parametrize(
    ("lost", "number"),
    [
        (1, signal.SIGKILL),
        (1, signal.SIGSTOP),
        *(pytest.param(0, number, marks=pytest.mark.slow) for number in LOSSES),
    ],
)
def test_the_other_worker_ends_in_time_and_names_the_lost_one(
    english: Corpus, tmp_path: Path, lost: int, number: int
) -> None:
    (said,) = lose(english, tmp_path, lost, number)
    # Without a launcher the first worker keeps the store, and nobody else can say who is left.
    name = f"worker {lost}" if lost else "another worker"
    assert re.search(
        rf"worker {1 - lost} lost {name} at step \d+ \(knowledge_masking\): killed, stopped or "
        r"not answering",
        said,
    )
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize("number", LOSSES)
def test_so_does_one_that_has_only_its_shards(english: Corpus, tmp_path: Path, number: int) -> None:
    (said,) = lose(english, tmp_path, 1, number, sharding="full")
    assert re.search(
        r"worker 0 lost worker 1 at step \d+ \(knowledge_masking\): killed, stopped or not "
        r"answering",
        said,
    )
    assert "Traceback" not in said


def launched(config: RunConfig, folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start two workers with torch's launcher."""
    command, environment = pretrain_command(config, folder, workers=2)
    at = command.index("--nproc-per-node")
    command[at:at] = options
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("options", [(), ("--standalone",)])
def test_the_launcher_brings_a_run_back_from_twenty_kills(
    english: Corpus, tmp_path: Path, options: tuple[str, ...]
) -> None:
    config, whole = (config_of(english, tmp_path / name, 160, 0) for name in ("run", "whole"))
    process = launched(config, tmp_path, "--max-restarts=20", *options)
    for number in range(20):
        target = last_step(config.run) + 2
        wait_until(lambda target=target: last_step(config.run) >= target, [process])  # type: ignore[misc]
        # In order of their ranks.
        sorted(psutil.Process(process.pid).children(), key=lambda child: child.pid)[
            number % 2
        ].kill()
    assert process.wait(600) == 0
    assert launched(whole, tmp_path).wait(600) == 0
    assert trace(config.run) == trace(whole.run)
    assert same_tensors(final_tensors(config.run), final_tensors(whole.run))
