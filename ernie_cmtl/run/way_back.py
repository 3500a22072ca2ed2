"""Which checkpoint a run that has diverged can go back to, and by which commands."""

import shlex
from pathlib import Path
from typing import Any

from ernie_cmtl.run.folder import RunFolder
from ernie_cmtl.training.checkpoint import checkpoints, step_of
from ernie_cmtl.training.metrics import read_metrics

_RISEN = 2.0
"""Times the lowest loss of a stage: by then a run has diverged."""
ASIDE = "diverged"
"""Folder beside the checkpoints for those that a run does not go on from."""


def way_back(run: Path) -> str:
    """Say which step a run should go back to, and what to type for that.

    It is the newest checkpoint after which a step was taken with a loss within twice the lowest of
    its stage.
    """
    folder = RunFolder(run)
    found = checkpoints(folder.checkpoints)
    if not found:
        return "no checkpoint was saved: the same command begins again at step 0"
    lines = [line for line in read_metrics(folder.metrics, "train") if "loss" in line]
    skipped = max((line["step"] for line in read_metrics(folder.metrics, "skipped")), default=0)
    sound = [path for path in found if _is_sound(step_of(path), lines, skipped)]
    if not sound:
        return (
            f"the run had diverged before each checkpoint that is left ({_names(found)}): begin "
            "again in another run folder"
        )
    newest = sound[-1]
    line = _line_after(step_of(newest), lines)
    about = f"step {step_of(newest)}" + (f" (loss {line['loss']:.2f})" if line else "")
    later = found[found.index(newest) + 1 :]
    if not later:
        return f"the same command resumes from {about}"
    aside = folder.checkpoints / ASIDE
    moved = " ".join(shlex.quote(str(path)) for path in later)
    target = shlex.quote(str(aside))
    return (
        f"the run had diverged before {later[0].name} was saved. To go back to {about}, type: "
        f"mkdir -p {target} && mv {moved} {target}"
    )


def _is_sound(step: int, lines: list[dict[str, Any]], skipped: int) -> bool:
    after = _line_after(step, lines)
    if after is None:
        return skipped <= step
    lowest = min(line["loss"] for line in lines if line.get("stage") == after.get("stage"))
    return bool(after["loss"] <= _RISEN * lowest)


def _line_after(step: int, lines: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the first line after a checkpoint: the loss of its own step was computed before the
    weights moved.
    """
    return next((line for line in lines if line["step"] > step), None)


def _names(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths)
