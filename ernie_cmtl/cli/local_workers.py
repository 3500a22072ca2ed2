"""The option --workers: worker processes of a run on this machine, started by torch's elastic
launcher.
"""

import logging
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from signal import Signals
from uuid import uuid4

import torch
import typer
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ernie_cmtl.cli.shared import add_plugins
from ernie_cmtl.cli.terminal import console, show_warnings
from ernie_cmtl.cli.training_view import STOPPED, train
from ernie_cmtl.config import RunConfig
from ernie_cmtl.errors import LostWorkerError, UserError
from ernie_cmtl.parent_process import terminate, was_launched, when_parent_ends
from ernie_cmtl.run.stopping import SIGNALS


def count_workers(workers: str) -> int:
    """Return how many workers are meant: a number, or `auto`: one for each GPU, one without any.

    Raises:
        UserError: It is neither, or a launcher has started this process already.
    """
    if workers != "auto" and not (workers.isascii() and workers.isdigit() and int(workers) > 0):
        raise UserError(f"--workers {workers!r} is neither a number from 1 on nor auto")
    if was_launched():
        raise UserError(
            "--workers starts workers of its own; this process is one that a launcher started"
        )
    return max(1, torch.cuda.device_count()) if workers == "auto" else int(workers)


def train_with_workers(
    count: int, settings: RunConfig, as_json: bool, plugins: list[str] | None
) -> None:
    """Train a run with several workers; the main one prints what it reports.

    Raises:
        UserError: The workers cannot share the groups of rows, or what the run itself refuses.
        LostWorkerError: One of them was killed or did not answer the others.
    """
    settings.check_workers(count)
    # More threads than cores are slower by an order of magnitude.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        # The others are passed on here: torch would raise in the launcher, and kill a worker whose
        # save takes longer than half a minute.
        signals_to_handle="SIGHUP,SIGQUIT",
    )
    # Of a worker that was killed it prints where the launcher waited for it.
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    passed_on = _SignalsPassedOn()
    try:
        with passed_on:
            answers = elastic_launch(config, _work)(settings, as_json, plugins).values()
    except ChildFailedError as error:
        if any(Path(failure.error_file).is_file() for failure in error.failures.values()):
            raise
        ended_by = {-failure.exitcode for failure in error.failures.values()}
        # A worker ends by one of those signals only before all of them have met.
        if ended_by & {*SIGNALS} or passed_on.at_once:
            console.say("ended at once; the same command resumes from the newest checkpoint")
            raise typer.Exit(STOPPED) from None
        ended = ", ".join(
            f"worker {rank} ({_end(failure.exitcode)})"
            for rank, failure in sorted(error.failures.items())
        )
        raise LostWorkerError(
            f"ended: {ended}; the same command resumes from the newest checkpoint"
        ) from None
    if mistakes := [answer for answer in answers if isinstance(answer, str)]:
        raise UserError(mistakes[0])
    if code := max(answers):
        raise typer.Exit(code)


class _SignalsPassedOn:
    """Passes Ctrl-C, SIGTERM and SIGUSR1 on to the workers, as often as they come; a second Ctrl-C
    kills them.
    """

    def __init__(self) -> None:
        self.at_once = False
        """Ctrl-C came twice."""
        self._keys_pressed = 0

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._pass_on) for number in SIGNALS}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _pass_on(self, number: int, _: object) -> None:
        self._keys_pressed += number == signal.SIGINT
        self.at_once = self._keys_pressed > 1
        workers = multiprocessing.active_children()
        if not workers:
            sys.exit(STOPPED)
        for worker in workers:
            if self.at_once:
                worker.kill()
            else:
                # Not as Ctrl-C, which a terminal has sent them already.
                worker.terminate()


def _work(settings: RunConfig, as_json: bool, plugins: list[str] | None) -> int | str:
    """Be one worker; returns the exit code, or the message of a mistake, which one process prints
    for all.
    """
    show_warnings()
    launcher = multiprocessing.parent_process()
    if launcher and launcher.pid:
        when_parent_ends(launcher.pid, terminate)
    add_plugins(plugins)
    try:
        train(settings, as_json)
    except UserError as error:
        return str(error)
    except LostWorkerError as error:
        console.say(str(error), "red")
        # The launcher has to see that it failed, and to end the others.
        sys.exit(1)
    except typer.Exit as stop:
        return stop.exit_code
    return 0


def _end(code: int) -> str:
    return f"signal {Signals(-code).name}" if code < 0 else f"exit code {code}"
