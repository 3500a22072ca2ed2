"""The verb extend: a finished run gets one more task, in a stage of its own at the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ernie_cmtl.config import RunConfig
from ernie_cmtl.errors import UserError
from ernie_cmtl.run.folder import RunFolder
from ernie_cmtl.run.open import saved_config
from ernie_cmtl.run.resume import first_stages, newest_state, read_checkpoint, resume_point
from ernie_cmtl.run.run import Run
from ernie_cmtl.scheduling.extension import extending_budgets
from ernie_cmtl.scheduling.stages import StageTable
from ernie_cmtl.settings import validate
from ernie_cmtl.training.checkpoint import checkpoints, verify_checkpoint


@dataclass(frozen=True)
class Extension:
    """A task to be added, as it is asked for."""

    task: str
    """Instance name."""
    type: str | None = None
    """None: the instance's own name."""
    budget: int | None = None
    review: float | None = None
    """Both as in `extending_budgets`."""
    stage: str | None = None
    """Name of the new stage; none: that of the task."""
    words: Sequence[str] = ()
    """Options of the task as key=value, and settings of the run as key.sub=value."""


def extended_config(folder: Path, extension: Extension, corpus: Path | None = None) -> RunConfig:
    """Return the configuration of a finished run with one more task; where this was begun and
    broken off, that is its own.

    corpus: the place of the run's corpus, where it is not the one that its configuration says.

    Raises:
        UserError: It is no run folder or not finished, its checkpoint is damaged, or task, budget,
            settings or corpus do not fit.
    """
    RunFolder(folder).refuse_links()
    config = saved_config(folder)
    if corpus:
        config = config.model_copy(update={"corpus": corpus})
    found = checkpoints(RunFolder(folder).checkpoints)
    if found:
        verify_checkpoint(found[-1])
    step, steps = (
        read_checkpoint(found[-1])[0].step if found else 0,
        StageTable(config.stages).steps,
    )
    # The same words go on with an extension that was broken off: it is what they make of the stages
    # before it.
    before = config if step == steps else first_stages(config, len(config.stages) - 1)
    extended = _extended(before, extension) if before.stages else before
    if step < steps and (extended.stages, extended.tasks) != (config.stages, config.tasks):
        raise UserError(
            f"run {folder} is not finished, it stands at step {step} of {steps}: "
            f"train it to its end with the verb pretrain and {RunFolder(folder).config}"
        )
    run = Run(extended)
    resume_point(run, newest_state(run))
    return extended


def _extended(config: RunConfig, extension: Extension) -> RunConfig:
    task = extension.task
    budgets = extending_budgets(StageTable(config.stages), task, extension.budget, extension.review)
    settings = config.model_dump(mode="json")
    settings["stages"].append(
        {"name": extension.stage or task, "budgets": budgets, "restart_schedule": True}
    )
    settings["tasks"][task] = {"type": extension.type}
    # What is no setting of a run is an option of the task.
    words = [
        word if _key(word) in RunConfig.model_fields else f"tasks.{task}.{word}"
        for word in extension.words
    ]
    return validate(RunConfig, settings, words, f"run {config.run}")


def _key(word: str) -> str:
    return word.partition("=")[0].partition(".")[0]
