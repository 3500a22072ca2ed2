"""Runs that are killed."""

import random
import time
from pathlib import Path

import psutil

from ernie_cmtl.config import RunConfig
from tests.support.runs import last_step, wait_until
from tests.support.workers import Worker, started

SECONDS_TO_END = 60


def saving(run: Path) -> bool:
    return any((run / "checkpoints").glob(".*-step-*"))


def held_in_save(process: Worker, run: Path) -> bool:
    """Stop a process that is inside a save; one that has left it meanwhile goes on."""
    if not saving(run):
        return False
    writer = psutil.Process(process.pid)
    writer.suspend()
    wait_until(lambda: writer.status() == psutil.STATUS_STOPPED, [process])
    if not saving(run):
        writer.resume()
    return saving(run)


def kill(config: RunConfig, folder: Path, workers: int, kind: str, chance: random.Random) -> bool:
    """Go on with a run for a few steps, kill one of its processes, wait for the others; tell
    whether it was inside a save.
    """
    run = config.run
    # The log still has what came after the newest checkpoint.
    target = last_step(run) + chance.randint(1, 3)
    processes = started(config, folder, workers)
    wait_until(lambda: last_step(run) >= target, processes)
    family = [
        child
        for process in processes
        for child in psutil.Process(process.pid).children(recursive=True)
    ]
    if kind == "save":
        wait_until(lambda: held_in_save(processes[0], run), processes)
    else:
        time.sleep(chance.random() / 10)
    victim = {"main": processes[0].pid, "save": processes[0].pid, "other": processes[-1].pid}.get(
        kind
    ) or family[0].pid
    psutil.Process(victim).kill()
    inside = saving(run)
    assert all(process.wait(SECONDS_TO_END) != 0 for process in processes)
    assert not psutil.wait_procs(family, timeout=SECONDS_TO_END)[1]
    return inside
