"""Being stopped: by a signal to one process or to all of them, more than once, or by a kill."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from torch.distributed import run as torchrun
from torch.distributed.launcher.api import LaunchConfig

from ernie_cmtl.cli import local_workers
from ernie_cmtl.cli.app import main
from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.run.session import Session
from ernie_cmtl.training.checkpoint import checkpoints
from ernie_cmtl.verbs import pretrain as verb
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.runs import (
    Watcher,
    last_step,
    logged_lines,
    long_run,
    pretrain_command,
    wait_until,
)
from tests.support.workers import Worker, started

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


def test_a_signal_that_comes_before_the_first_step_stops_after_it(
    tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def session(*given: Any) -> Session:
        os.kill(os.getpid(), signal.SIGTERM)
        return Session(*given)

    monkeypatch.setattr(verb, "Session", session)
    result = pretrain(tiny_config, Watcher())
    assert (result["steps"], result["interrupted"]) == (1, True)


def test_a_worker_of_a_launcher_takes_a_second_ctrl_c_for_the_same_one(
    tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "outer")
    assert pretrain(tiny_config, Signalled(signal.SIGINT))["steps"] == 3


@contextmanager
def family_ends(launcher: Worker) -> Iterator[None]:
    """Check that all that a launcher has started ends by itself; nothing is left behind either
    way.
    """
    family = psutil.Process(launcher.pid).children(recursive=True)
    try:
        yield
        assert not psutil.wait_procs(family, timeout=25)[1]
    finally:
        launcher.kill()
        for child in family:
            with suppress(psutil.NoSuchProcess):
                child.kill()


def _launch_and_wait() -> None:
    """Be a launcher whose worker is a copy of this process."""
    if os.fork():
        time.sleep(600)
    main()


def test_a_worker_whose_launcher_is_killed_saves_its_step_and_ends(
    english: Corpus, tmp_path: Path
) -> None:
    config = long_run(english, tmp_path / "run")
    words, _ = pretrain_command(config, tmp_path)
    launcher = Worker(
        words[1:], {"TORCHELASTIC_RUN_ID": "one"}, tmp_path / "launcher.out", _launch_and_wait
    )
    wait_until(lambda: last_step(config.run) >= 1, [launcher])
    with family_ends(launcher):
        launcher.kill()
    (saved,) = checkpoints(config.run / "checkpoints")
    assert saved.name == f"step-{logged_lines(config.run)[-1]['step']}"


def _main_with_copies() -> None:
    """Be the command line; --workers starts copies of this process, which have torch already."""
    local_workers.LaunchConfig = partial(LaunchConfig, start_method="fork")  # type: ignore[misc, assignment]
    main()


def stop(
    english: Corpus, folder: Path, launcher: str, target: str, *numbers: int, quick: bool = False
) -> tuple[int, str]:
    """Send signals to a launcher of two workers, to its process group or to a worker; check that
    all save one step, and return the launcher's exit code and what was said.
    """
    config = long_run(english, folder / "run")
    if launcher == "torchrun":
        command, environment = pretrain_command(config, folder, workers=2)
        process = Worker(command[2:], environment, folder / "said.out", torchrun.main)
    else:
        command, environment = pretrain_command(config, folder)
        words = [*command[1:], "--workers", "2"]
        process = Worker(
            words, environment, folder / "said.out", _main_with_copies if quick else main
        )
    wait_until(lambda: last_step(config.run) >= 1, [process])
    # In order of their ranks.
    *_, worker = sorted(
        (
            child
            for child in psutil.Process(process.pid).children()
            if "resource_tracker" not in " ".join(child.cmdline())
        ),
        key=lambda child: child.pid,
    )
    with family_ends(process):
        for number in numbers:
            if target == "group":
                os.killpg(process.pid, number)
            else:
                os.kill(process.pid if target == "launcher" else worker.pid, number)
        code = process.wait(60)
    (saved,) = checkpoints(config.run / "checkpoints")
    assert saved.name == f"step-{logged_lines(config.run)[-1]['step']}"
    return code, (folder / "said.err").read_text()


@pytest.mark.parametrize(
    ("quick", "target", "numbers"),
    [
        # As Slurm does, which signals the process that it started.
        (True, "launcher", (signal.SIGUSR1, signal.SIGTERM)),
        *(
            pytest.param(False, *case, marks=pytest.mark.slow)
            for case in (
                ("launcher", (signal.SIGUSR1, signal.SIGTERM)),
                ("launcher", (signal.SIGINT,)),
                ("group", (signal.SIGINT,)),
                ("worker", (signal.SIGUSR1,)),
                ("worker", (signal.SIGTERM,)),
                ("worker", (signal.SIGINT,)),
            )
        ),
    ],
)
def test_signals_stop_the_option_workers(
    english: Corpus, tmp_path: Path, quick: bool, target: str, numbers: tuple[int, ...]
) -> None:
    code, said = stop(english, tmp_path, "--workers", target, *numbers, quick=quick)
    assert code == STOPPED
    assert "Traceback" not in said
    assert "leaked" not in said


@pytest.mark.slow
def test_the_option_workers_stops_before_all_workers_have_met(
    english: Corpus, tmp_path: Path
) -> None:
    command, environment = pretrain_command(long_run(english, tmp_path / "run"), tmp_path)
    launcher = Worker([*command[1:], "--workers", "2"], environment, tmp_path / "said.out")
    wait_until(lambda: len(psutil.Process(launcher.pid).children()) >= 2, [launcher])
    os.kill(launcher.pid, signal.SIGUSR1)
    assert launcher.wait(30) == STOPPED
    assert "resumes from the newest checkpoint" in (tmp_path / "said.err").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "number", "expected"),
    [
        # The launcher's own codes: it raises, or the signal ends it and its workers notice.
        ("launcher", signal.SIGTERM, 1),
        ("launcher", signal.SIGUSR1, -signal.SIGUSR1),
        ("launcher", signal.SIGKILL, -signal.SIGKILL),
        ("group", signal.SIGINT, 1),
        ("worker", signal.SIGUSR1, 1),
        ("worker", signal.SIGTERM, 1),
        ("worker", signal.SIGINT, 1),
    ],
)
def test_signals_stop_the_workers_of_torchrun(
    english: Corpus, tmp_path: Path, target: str, number: int, expected: int
) -> None:
    assert stop(english, tmp_path, "torchrun", target, number)[0] == expected
