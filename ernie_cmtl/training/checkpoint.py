"""Checkpoints: weights and optimizer state by parameter name in safetensors, the rest in JSON; never a pickle."""

import json
import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Ledger

_STATE = "state.json"


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: Optimizer,
    ledger: Ledger,
    run: dict[str, Any],
    keep: int,
    pinned: Collection[int] = (),
) -> Path:
    """Write `step-N` beside the older ones, whole or not at all, then delete all but the newest `keep` and the pinned steps."""
    target = folder / f"step-{ledger.step}"
    partial = folder / f".partial-step-{ledger.step}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(model.state_dict(), partial / "model.safetensors")
    save_file(_optimizer_state(model, optimizer), partial / "optimizer.safetensors")
    (partial / _STATE).write_text(json.dumps({"ledger": asdict(ledger), "run": run}, indent=1), encoding="utf-8")
    for path in (*partial.iterdir(), partial):
        _sync(path)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    _sync(folder)
    for old in checkpoints(folder)[:-keep]:
        if _step(old) not in pinned:
            shutil.rmtree(old)
    return target


def checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints of a run, oldest first."""
    found = [path for path in folder.glob("step-*") if (path / _STATE).is_file()]
    return sorted(found, key=_step)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def load_weights(checkpoint: Path, model: nn.Module, fresh: Sequence[str] = ()) -> None:
    """Load the weights of a checkpoint into a model of the same sizes; fresh: beginnings of the names that only the model has."""
    own = {name: value for name, value in model.state_dict().items() if name.startswith(tuple(fresh))}
    model.load_state_dict(own | load_file(checkpoint / "model.safetensors"))


def load_state(checkpoint: Path) -> tuple[Ledger, dict[str, Any]]:
    """Return the ledger of a checkpoint and what it says of its run."""
    state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    parts = {name: tuple(value) for name, value in state["ledger"].items() if name != "step"}
    return Ledger(state["ledger"]["step"], **parts), state["run"]


def load_optimizer(checkpoint: Path, model: nn.Module, optimizer: Optimizer) -> None:
    """Give each parameter its optimizer state back, by name."""
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, value in load_file(checkpoint / "optimizer.safetensors").items():
        name, _, entry = key.rpartition("|")
        by_name.setdefault(name, {})[entry] = value
    for name, parameter in model.named_parameters():
        for entry, value in by_name.pop(name, {}).items():
            optimizer.state[parameter][entry] = value.to(parameter.device)
    if by_name:
        raise UserError(f"checkpoint {checkpoint} holds optimizer state of unknown parameters: {', '.join(sorted(by_name))}")


def _optimizer_state(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        for entry, value in optimizer.state.get(parameter, {}).items():
            state[f"{name}|{entry}"] = torch.as_tensor(value)
    return state


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
