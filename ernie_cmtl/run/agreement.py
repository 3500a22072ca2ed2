"""What all workers of a run must have in common before its first step: where they differ, they
train wrongly without an error.
"""

import hashlib
import json
import re
import socket
from typing import Any

import numpy
import torch
import transformers

import ernie_cmtl
from ernie_cmtl.data.loader import Shares
from ernie_cmtl.records import Ledger
from ernie_cmtl.run.folder import RunFolder
from ernie_cmtl.run.resume import newest_state
from ernie_cmtl.run.run import Run
from ernie_cmtl.settings import differences
from ernie_cmtl.training.distributed import Workers

_VERSIONS = {"ernie_cmtl": ernie_cmtl, "torch": torch, "transformers": transformers, "numpy": numpy}
_OF_A_MACHINE = {"run", "corpus"}
"""Settings that may differ: where a machine has its files."""


def state_of_main(run: Run, workers: Workers) -> str:
    """Return on every worker the state of the checkpoint that the main one resumes from, as it is
    written; nothing without one.

    Raises:
        UserError: Another worker has a newer checkpoint, so that the main one has lost what was
            trained.
    """
    steps = _steps_in(run)
    own = {
        "host": socket.gethostname(),
        "steps": steps,
        "state": newest_state(run) if workers.is_main else "",
    }
    main, *others = [json.loads(text) for text in workers.texts(json.dumps(own))]
    for rank, other in enumerate(others, 1):
        newest = max(other["steps"], default=0)
        # One that the main worker has set aside may still be seen on a disk in the network.
        if newest > max(main["steps"], default=0) and newest not in main["steps"]:
            workers.refuse(
                f"worker {rank} on {other['host']} has a checkpoint of step {newest} in "
                f"{RunFolder(run.config.run).checkpoints}, and the main worker on {main['host']} "
                "has none of it: use a run folder on a disk that all machines share, or make the "
                "machine with that checkpoint the first one (torchrun --node-rank 0)"
            )
    return str(main["state"])


def _steps_in(run: Run) -> list[int]:
    """Return the steps of all checkpoints in a run folder, sound or not."""
    names = (path.name for path in RunFolder(run.config.run).checkpoints.glob("*step-*"))
    return [int(match[1]) for match in (re.search(r"step-(\d+)$", name) for name in names) if match]


def check_agreement(run: Run, workers: Workers, ledger: Ledger, shares: Shares) -> None:
    """Compare settings, corpus, versions, precision and the plan of the next step over all workers.

    ledger: before that step; shares: the plan of the run.

    Raises:
        UserError: They differ; it names each difference and what to do.
    """
    own = workers.on_each(lambda: json.dumps(_described(run, workers, ledger, shares)))
    main, *others = map(json.loads, workers.texts(own))
    host = main.pop("host")
    for rank, other in enumerate(others, 1):
        other_host = other.pop("host")
        if found := differences(main, other):
            listed = ", ".join(
                f"{key} ({theirs!r}, on the main worker {ours!r})"
                for key, (ours, theirs) in found.items()
            )
            workers.refuse(
                f"worker {rank} on {other_host} is not set up as the main worker on {host}: "
                f"{listed}; all workers need the same configuration, corpus, versions and precision"
            )


def _described(run: Run, workers: Workers, ledger: Ledger, shares: Shares) -> dict[str, Any]:
    """Return what a worker has that the others must have too, and the name of its machine."""
    return {
        "host": socket.gethostname(),
        "settings": run.config.model_dump(mode="json", exclude=_OF_A_MACHINE),
        "corpus": run.pin,
        "precision": workers.precision,
        "versions": {name: module.__version__ for name, module in _VERSIONS.items()},
        "step": ledger.step,
        # It follows from all of these, and from the code of the tasks.
        "samples of the next step": _plan_of(run, ledger, shares),
    }


def _plan_of(run: Run, ledger: Ledger, shares: Shares) -> str:
    step = ledger.step
    if step == run.table.steps:
        return ""
    stage = run.stage_streams.of_steps(step, step + 1)[run.table.stage_of(step)]
    return hashlib.sha256(repr(stage.plan(shares(step), ledger).rows).encode()).hexdigest()[:16]
