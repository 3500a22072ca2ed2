"""The group of the worker processes: how they find each other, also after a restart, and who of
them is lost.
"""

import os
import threading
import time
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import torch
from torch import distributed
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from ernie_cmtl.errors import LostWorkerError, UserError

_ADDRESS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_COUNTS_OF_MPI = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_COME_SECONDS = 1800.0
"""As long as torch lets the others wait for their answer."""
_ANSWER_SECONDS = 2.0


def join_group(timeout_seconds: float) -> Store | None:
    """Join the other workers that a launcher has started, and return the store that they share;
    None without any.

    timeout_seconds: after which a worker that waits for another gives up.

    Raises:
        UserError: `accelerate launch` was asked for several workers and has started this one alone.
    """
    _check_not_left_alone()
    if (
        any(name not in os.environ for name in _ADDRESS)
        or os.environ["WORLD_SIZE"] == "1"
        or distributed.is_initialized()
    ):
        return None
    shared, rank, count = next(rendezvous("env://"))
    # The launcher keeps its store over restarts: under one name, workers would look for those that
    # were killed.
    store = PrefixStore(_lead(shared, count) if rank == 0 else _follow(shared, rank), shared)
    distributed.init_process_group(
        # What is made on the host is reduced there: on a GPU it would wait for all that the device
        # still has to do.
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        store=store,
        rank=rank,
        world_size=count,
        timeout=timedelta(seconds=timeout_seconds),
    )
    return store


def _check_not_left_alone() -> None:
    """Refuse to be the only worker that `accelerate launch --num_processes N` starts without GPUs:
    it then gives an address to meet at, and neither a number of workers nor a rank.
    """
    is_asked_for = {"ACCELERATE_MIXED_PRECISION", "MASTER_ADDR"} <= os.environ.keys()
    if is_asked_for and not {"WORLD_SIZE", *_COUNTS_OF_MPI} & os.environ.keys():
        raise UserError(
            "accelerate launch was asked for several workers and started 1 alone, as it does "
            "without GPUs: add --multi_gpu, which starts all of them on CPUs too, or use "
            "pretrain CONFIG --workers N or torchrun --nproc-per-node N"
        )


def _lead(store: Store, count: int, seconds: float = _COME_SECONDS) -> str:
    """Give this round of workers a name that no other has, and wait until all know it.

    Raises:
        LostWorkerError: Some do not come.
    """
    name = uuid4().hex
    end = time.monotonic() + seconds
    while absent := [
        other for other in range(1, count) if not store.check([f"{name}/came/{other}"])
    ]:
        if time.monotonic() > end:
            raise LostWorkerError(
                f"worker {', '.join(map(str, absent))} did not come within {seconds:g} seconds"
            )
        for other in absent:
            # Perhaps that of a worker which was killed: nobody reads the answer.
            if store.check([f"hello/{other}"]):
                store.set(f"answer/{store.get(f'hello/{other}').decode()}", name)
        time.sleep(0.02)
    store.set(f"{name}/go", "")
    return name


def _follow(store: Store, rank: int) -> str:
    """Learn the name of this round; returns once all workers have come, since some import and open
    faster than others.
    """
    question = uuid4().hex
    store.set(f"hello/{rank}", question)
    name = store.get(f"answer/{question}").decode()
    store.set(f"{name}/came/{rank}", "")
    store.wait([f"{name}/go"])
    return str(name)


def is_lost_connection(error: RuntimeError) -> bool:
    """Tell whether an error is that of a collective operation which another worker did not take
    part in.
    """
    return isinstance(error, distributed.DistError) or "gloo" in str(error).lower()


def lost_workers(store: Store, rank: int, count: int) -> list[int]:
    """Return the workers that do not say within a moment that they are left; none where the store
    cannot be asked either.

    Every worker that is left calls this, once it has given up the group.
    """
    absent: list[int] = []

    def ask() -> None:
        # The store is lost with the process that keeps it.
        with suppress(RuntimeError):
            store.set(f"left/{rank}", "")
            end = time.monotonic() + _ANSWER_SECONDS
            while (
                found := [other for other in range(count) if not store.check([f"left/{other}"])]
            ) and time.monotonic() < end:
                time.sleep(0.05)
            absent.extend(found)

    # If that process is only stopped, it never answers.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(2 * _ANSWER_SECONDS)
    return absent
