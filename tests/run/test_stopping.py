"""Being stopped: by a signal to one process or to all of them, more than once, or by a kill."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.training.checkpoint import checkpoints
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.runs import Watcher, last_step, logged_lines, long_run, wait_until
from tests.support.workers import started

STOPPED = 130


class Signalled(Watcher):
    """Sends itself a signal, twice, after a step."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def logged(self, stage: str, line: dict[str, object]) -> None:
        if line["step"] == 2:
            os.kill(os.getpid(), self.number)
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_that_comes_twice_saves_the_running_step(
    tiny_config: RunConfig, number: int
) -> None:
    before = signal.getsignal(number)
    result = pretrain(tiny_config, Signalled(number))
    assert (result["steps"], result["interrupted"]) == (3, True)
    assert [path.name for path in checkpoints(tiny_config.run / "checkpoints")] == ["step-3"]
    assert signal.getsignal(number) == before


def test_a_signal_to_one_worker_and_its_loaders_stops_all_workers_at_one_saved_step(
    english: Corpus, tmp_path: Path
) -> None:
    config = long_run(english, tmp_path / "run")
    processes = started(config, tmp_path, 2)
    wait_until(lambda: last_step(config.run) >= 3, processes)
    children = [
        child
        for process in processes
        for child in psutil.Process(process.pid).children(recursive=True)
    ]
    assert len(children) >= 4
    start = time.monotonic()
    # A cluster manager's way: to every process of the job, again while it ends.
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM):
        os.killpg(processes[1].pid, number)
    assert [process.wait(25) for process in processes] == [STOPPED, STOPPED]
    assert time.monotonic() - start < 25
    (saved,) = checkpoints(config.run / "checkpoints")
    assert saved.name == f"step-{logged_lines(config.run)[-1]['step']}"
    psutil.wait_procs(children, timeout=10)
    assert not [child for child in children if child.is_running()]
