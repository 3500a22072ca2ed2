"""Checkpoints: weights and optimizer state by parameter name in safetensors, the rest in JSON;
never a pickle.

Each folder `step-N` holds the SHA-256 of its files in `SHA256SUMS`, so that damage is found, with
`sha256sum -c` too.
"""

import json
import shutil
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from ernie_cmtl.atomic_files import file_hash, remove_folder, sync
from ernie_cmtl.errors import UserError
from ernie_cmtl.foreign_files import parse_json
from ernie_cmtl.records import Ledger
from ernie_cmtl.training.optimizer import Optimizers
from ernie_cmtl.training.sharding import gathered

WEIGHTS, MOMENTS, _STATE, _SUMS = (
    "model.safetensors",
    "optimizer.safetensors",
    "state.json",
    "SHA256SUMS",
)
_FILES = (WEIGHTS, MOMENTS, _STATE)


class _State(BaseModel):
    """What `state.json` holds."""

    model_config = ConfigDict(extra="forbid")

    ledger: Ledger
    run: dict[str, Any]


class DamagedError(UserError):
    """A checkpoint does not hold what was written into it."""


class NotFiniteError(UserError):
    """Weights or moments to be saved are not finite."""


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint holds of a run at one step."""

    weights: dict[str, Tensor]
    moments: dict[str, Tensor]
    """`parameter|entry` -> state of the optimizer."""
    ledger: Ledger
    run: dict[str, Any]
    """What is said of the run, as JSON holds it."""


def snapshot(
    model: nn.Module, optimizer: Optimizers, ledger: Ledger, run: dict[str, Any]
) -> Snapshot:
    """Return the state of a run: its own tensors, or those gathered from all workers' shards, which
    only the first one keeps.
    """
    moments = {
        f"{name}|{entry}": torch.as_tensor(value)
        for name, parameter in model.named_parameters()
        for entry, value in optimizer.state.get(parameter, {}).items()
    }
    return Snapshot(gathered(model.state_dict()), gathered(moments), ledger, run)


def in_host_memory(state: Snapshot) -> Snapshot:
    """Return a copy that stays what it is while the run goes on."""
    weights, moments = (
        {name: value.detach().to("cpu", copy=True) for name, value in part.items()}
        for part in (state.weights, state.moments)
    )
    return replace(state, weights=weights, moments=moments)


def save_checkpoint(
    folder: Path, state: Snapshot, keep: int | None, pinned: Collection[int] = ()
) -> Path:
    """Write `step-N` beside the older ones, whole or not at all, read it back, and only then delete
    those not kept.

    Kept are the newest `keep` and the pinned steps; all, if keep is None.

    Raises:
        NotFiniteError: Nothing was written.
        UserError: The disk is full, read-only or faulty; the older checkpoints are as they were.
    """
    step = state.ledger.step
    _check_finite(state)
    try:
        target = _write(folder, state)
        verify_checkpoint(target)
    except (OSError, SafetensorError, DamagedError) as error:
        shutil.rmtree(_partial(folder, step), ignore_errors=True)
        left = [path.name for path in checkpoints(folder) if step_of(path) != step]
        whence = f"the run resumes from {left[-1]}" if left else "there is no older one"
        raise UserError(
            f"the checkpoint of step {step} could not be saved in {folder}: {error}; {whence}"
        ) from error
    for old in checkpoints(folder)[:-keep] if keep else ():
        if step_of(old) not in pinned:
            _remove(old)
    return target


def _check_finite(state: Snapshot) -> None:
    tensors = {f"weight {name}": value for name, value in state.weights.items()}
    tensors |= {f"moment {name}": value for name, value in state.moments.items()}
    if broken := [name for name, value in tensors.items() if not value.isfinite().all()]:
        raise NotFiniteError(
            f"{len(broken)} of {len(tensors)} weights and moments are not finite after step "
            f"{state.ledger.step} (the first is {broken[0]}), so they were not saved"
        )


def _write(folder: Path, state: Snapshot) -> Path:
    target = folder / f"step-{state.ledger.step}"
    # What a broken save has left.
    for left in (*folder.glob(".partial-*"), *folder.glob(".removed-*")):
        remove_folder(left)
    partial = _partial(folder, state.ledger.step)
    partial.mkdir(parents=True)
    save_file(state.weights, partial / WEIGHTS)
    save_file(state.moments, partial / MOMENTS)
    about = {"ledger": asdict(state.ledger), "run": state.run}
    (partial / _STATE).write_text(json.dumps(about, indent=1), encoding="utf-8")
    (partial / _SUMS).write_text(_sums(partial), encoding="utf-8")
    for path in (*partial.iterdir(), partial):
        sync(path)
    if target.exists():
        _remove(target)
    partial.rename(target)
    sync(folder)
    return target


def _partial(folder: Path, step: int) -> Path:
    return folder / f".partial-step-{step}"


def _remove(checkpoint: Path) -> None:
    """Remove a checkpoint so that, broken off, it leaves none that lacks files; where that fails,
    the next save tries again.
    """
    removed = checkpoint.with_name(f".removed-{checkpoint.name}")
    with suppress(OSError):
        checkpoint.rename(removed)
        shutil.rmtree(removed)


def _sums(checkpoint: Path) -> str:
    return "".join(f"{file_hash(checkpoint / name)}  {name}\n" for name in _FILES)


def verify_checkpoint(checkpoint: Path) -> None:
    """Read a checkpoint and compare it with its hashes.

    Raises:
        DamagedError: It names the files that are missing, or that are not what was written.
    """
    sums = checkpoint / _SUMS
    if missing := [name for name in (*_FILES, _SUMS) if not (checkpoint / name).is_file()]:
        raise DamagedError(f"checkpoint {checkpoint} is damaged: it has no {', '.join(missing)}")
    found, written = _sums(checkpoint).encode(), sums.read_bytes()
    if found != written:
        changed = [
            line.split()[1].decode()
            for line in found.splitlines()
            if line not in written.splitlines()
        ]
        names = ", ".join(changed or [_SUMS])
        raise DamagedError(
            f"checkpoint {checkpoint} is damaged: {names} is not what was written ({_SUMS})"
        )
    try:
        step = load_state(checkpoint)[0].step
    except UserError as error:
        raise DamagedError(f"checkpoint {checkpoint} is damaged: {error}") from error
    if step != step_of(checkpoint):
        raise DamagedError(
            f"checkpoint {checkpoint} is not what its name says: it holds step {step}"
        )


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    found = [path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdecimal()]
    return sorted(found, key=step_of)


def set_aside_damaged(folder: Path) -> list[str]:
    """Rename damaged checkpoints that are newer than the newest intact one to `damaged-step-N`;
    return what is wrong with each.

    Raises:
        UserError: There are checkpoints and all of them are damaged.
    """
    problems: dict[Path, str] = {}
    found = checkpoints(folder)
    for checkpoint in reversed(found):
        try:
            verify_checkpoint(checkpoint)
            break
        except DamagedError as error:
            problems[checkpoint] = str(error)
    if problems and len(problems) == len(found):
        raise UserError(f"no checkpoint in {folder} is intact: {'; '.join(problems.values())}")
    for checkpoint in problems:
        aside = checkpoint.with_name(f"damaged-{checkpoint.name}")
        remove_folder(aside)
        checkpoint.rename(aside)
    return list(problems.values())


def check_space(folder: Path, model: nn.Module, number: int) -> None:
    """Refuse a disk that cannot take so many more checkpoints; the folder must exist.

    Raises:
        UserError: It names what is needed and what is free.
    """
    # Two moments for each weight.
    size = 3 * sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    needed, free = number * size, shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder} has {free / 1e6:,.1f} MB free; {number} checkpoints of {size / 1e6:,.1f} MB "
            f"need {needed / 1e6:,.1f} MB: make room, or lower training.checkpoints.keep or raise "
            "training.checkpoints.keep_every"
        )


def step_of(checkpoint: Path) -> int:
    """Return the step that the name of a checkpoint says."""
    return int(checkpoint.name.removeprefix("step-"))


def load_state(checkpoint: Path) -> tuple[Ledger, dict[str, Any]]:
    """Return the ledger of a checkpoint and what it says of its run."""
    return parse_state(read_state(checkpoint))


def read_state(checkpoint: Path) -> str:
    """Return the state of a checkpoint as it is written, in JSON.

    Raises:
        UserError: It is not in UTF-8.
    """
    try:
        return (checkpoint / _STATE).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{checkpoint / _STATE} is damaged: {error}") from error


def parse_state(text: str) -> tuple[Ledger, dict[str, Any]]:
    """Return the ledger, and what is said of the run, of a state as it is written.

    Raises:
        UserError: It is no state.
    """
    state = parse_json(text, _State, _STATE)
    return state.ledger, state.run
