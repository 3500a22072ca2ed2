"""A worker that is killed or stopped: the others end soon and name it, and nothing of the run stays
behind.
"""

import json
import os
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.training.checkpoint import checkpoints
from tests.support.runs import (
    config_of,
    final_tensors,
    last_step,
    long_run,
    pretrain_command,
    same_tensors,
    tiny_settings,
    trace,
    wait_until,
    with_training,
)
from tests.support.workers import Worker, free_port, started

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


def launched(
    config: RunConfig, folder: Path, *options: str, **variables: str
) -> subprocess.Popen[bytes]:
    """Start two workers with torch's launcher."""
    command, environment = pretrain_command(config, folder, workers=2)
    at = command.index("--nproc-per-node")
    command[at:at] = options
    return subprocess.Popen(
        command, env=environment | variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
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


def workers_of(run: Path) -> int | None:
    """Return how many workers made the newest checkpoint of a run."""
    made = checkpoints(run / "checkpoints")
    if not made:
        return None
    state: dict[str, Any] = json.loads((made[-1] / "state.json").read_text("utf-8"))
    workers: int = state["run"]["workers"]
    return workers


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_launcher_continues_with_two_workers_when_it_loses_two_of_four(
    english: Corpus, tmp_path: Path
) -> None:
    """Two launchers stand for two machines. The one without the meeting place is killed with its
    workers.
    """
    settings = tiny_settings(english, tmp_path / "run")
    settings["stages"] = [{"name": "all", "budgets": {"knowledge_masking": 120}}]
    settings["training"] |= {"checkpoints": {"every": 3}, "worker_timeout_seconds": 10.0}
    config = RunConfig.model_validate(settings)
    options = (
        *("--nnodes=1:2", "--max-restarts=3", "--rdzv-backend=c10d", "--rdzv-id=here"),
        f"--rdzv-endpoint=localhost:{free_port()}",
    )
    # With the store of the launchers shared, a late one waits for an address that nobody writes
    # anew (torch 2.13).
    own_store = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    first = launched(config, tmp_path, *options, **own_store)
    second = first
    try:
        # The first one keeps the meeting place.
        wait_until(lambda: workers_of(config.run) == 2, [first])
        second = launched(config, tmp_path, *options, **own_store)
        wait_until(lambda: workers_of(config.run) == 4, [first, second])
        target = last_step(config.run) + 4
        wait_until(lambda: last_step(config.run) >= target, [first, second])
        machine = psutil.Process(second.pid)
        for process in [machine, *machine.children(recursive=True)]:
            process.kill()
        assert first.wait(600) == 0
    finally:
        for launcher in (first, second):
            launcher.kill()
    assert workers_of(config.run) == 2
    settings["run"] = str(tmp_path / "whole")
    whole = RunConfig.model_validate(settings)
    assert launched(whole, tmp_path).wait(600) == 0
    # The same samples; sums over another number of workers differ in their last digits.
    steps, losses, _ = zip(*trace(config.run), strict=True)
    expected_steps, expected_losses, _ = zip(*trace(whole.run), strict=True)
    assert steps == expected_steps
    assert losses == pytest.approx(expected_losses, rel=1e-4)
