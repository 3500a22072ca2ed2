"""The option --workers: worker processes of a run on this machine, started by torch's elastic launcher."""

import os
from uuid import uuid4

import torch
import typer
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ernie_cmtl.cli.calls import add_tasks
from ernie_cmtl.cli.show_run import train
from ernie_cmtl.config import RunConfig
from ernie_cmtl.errors import UserError


def count_workers(workers: str) -> int:
    """Return how many workers are meant: a number, or `auto`: one for each GPU, one without any.

    Raises:
        UserError: It is neither, or a launcher has started this process already.
    """
    if workers != "auto" and not (workers.isascii() and workers.isdigit() and int(workers) > 0):
        raise UserError(f"--workers {workers!r} is neither a number from 1 on nor auto")
    if "TORCHELASTIC_RUN_ID" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ:
        raise UserError("--workers starts workers of its own; this process is one that a launcher started")
    return max(1, torch.cuda.device_count()) if workers == "auto" else int(workers)


def train_with_workers(count: int, settings: RunConfig, as_json: bool, task_modules: list[str] | None) -> None:
    """Train a run with several workers; the main one prints what it reports.

    Raises:
        UserError: The workers cannot share the groups of rows, or what the run itself refuses.
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
    )
    answers = elastic_launch(config, _work)(settings, as_json, task_modules).values()
    if mistakes := [answer for answer in answers if isinstance(answer, str)]:
        raise UserError(mistakes[0])
    if code := max(answers):
        raise typer.Exit(code)


def _work(settings: RunConfig, as_json: bool, task_modules: list[str] | None) -> int | str:
    """Be one worker; returns the exit code, or the message of a mistake, which one process prints for all."""
    add_tasks(task_modules)
    try:
        train(settings, as_json)
    except UserError as error:
        return str(error)
    except typer.Exit as stop:
        return stop.exit_code
    return 0
