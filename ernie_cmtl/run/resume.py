"""Where a run resumes: what its newest checkpoint must agree with, and what a run that was extended
takes over from it.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.content import changed_content
from ernie_cmtl.errors import UserError
from ernie_cmtl.foreign_files import checked
from ernie_cmtl.model.encoder import encoder_family
from ernie_cmtl.model.encoder_config import EncoderConfig
from ernie_cmtl.model.task_parameters import new_since
from ernie_cmtl.records import Ledger
from ernie_cmtl.run.folder import RunFolder
from ernie_cmtl.run.run import Run
from ernie_cmtl.run.splitting import with_decisions
from ernie_cmtl.run.state import RunState
from ernie_cmtl.scheduling.plan import Plan
from ernie_cmtl.settings import differences
from ernie_cmtl.task_instance import run_heads
from ernie_cmtl.training.checkpoint import checkpoints, load_state, parse_state, read_state
from ernie_cmtl.training.checkpoint_tensors import load_optimizer, load_weights
from ernie_cmtl.training.trainer import Trainer

IDENTITY = (
    "seed",
    "mixture",
    "spans",
    "tasks",
    "stages",
    "mode",
    "feedback",
    "data",
    "encoder",
    "loss_weighting",
    "sharing",
)
"""Settings that a run may not change when it goes on: they decide the data order or the weights."""


def identity(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a run's settings that must stay the same over the whole run; how a step is
    cut into groups is none.
    """
    found: dict[str, Any] = {name: deepcopy(settings.get(name)) for name in IDENTITY}
    found["optimizer"] = {"kind": settings["optimizer"].get("kind")}
    for name in ("loader_workers", "rows_per_group"):
        found["data"].pop(name, None)
    found["stages"] = [
        {name: value for name, value in stage.items() if value and name != "rows_per_group"}
        for stage in found["stages"]
    ]
    encoder = checked(found["encoder"], EncoderConfig, "the settings of the encoder")
    family = encoder_family(encoder.architecture)
    if encoder.init_from:
        # The checkpoint decides its sizes, and it need not be there any more.
        settled = family.settled(encoder)
        found["encoder"] = settled.model_dump(exclude=set(EncoderConfig.SIZES))
    else:
        found["encoder"] = family.sized(encoder).model_dump()
    return found


def read_checkpoint(checkpoint: Path) -> tuple[Ledger, RunState]:
    """Return the ledger of a checkpoint and the state of its run."""
    ledger, state = load_state(checkpoint)
    return ledger, RunState.of_json(state)


def config_of_checkpoint(config: RunConfig, state: RunState) -> RunConfig:
    """Return the part of a run's configuration that a checkpoint knows: all, or what was there
    before the run was extended.
    """
    return first_stages(config, len(state.settings["stages"]))


def first_stages(config: RunConfig, number: int) -> RunConfig:
    """Return a configuration that ends after so many of its stages."""
    stages = config.stages[:number]
    scheduled = {task for stage in stages for task in stage.budgets}
    tasks = {name: settings for name, settings in config.tasks.items() if name in scheduled}
    return config.model_copy(update={"stages": stages, "tasks": tasks})


def newest_state(run: Run) -> str:
    """Return the state of a run's newest checkpoint as it is written; nothing before the first
    one.
    """
    found = checkpoints(RunFolder(run.config.run).checkpoints)
    return read_state(found[-1]) if found else ""


def with_spans(run: Run, state: RunState) -> tuple[Run, RunState]:
    """Return a run and the state of its checkpoint with the span layers that it began with, where
    they do not name them: layers that the corpus got later are none of its own.
    """
    spans = state.settings.get("spans")
    if spans is None:
        spans = _earlier_spans(run, state)
        state = replace(state, settings=state.settings | {"spans": list(spans)})
    if run.config.spans is None:
        run = Run(run.config.model_copy(update={"spans": tuple(spans)}))
    return run, state


def _earlier_spans(run: Run, state: RunState) -> tuple[str, ...]:
    """Return the span layers of a run of an earlier version, which did not write them down: later
    ones stand at the end, so that its pin shows where they begin.
    """
    every, before = run.corpus.profile.spans, config_of_checkpoint(run.config, state)
    for number in range(len(every), -1, -1):
        if Run(before.model_copy(update={"spans": every[:number]})).pin == state.pin:
            return every[:number]
    return every


def corpus_difference(run: Run, state: RunState) -> str:
    """Say how the corpus differs from the one that a checkpoint was trained on; nothing where it is
    the same.

    run: of the stages that the checkpoint knows.
    """
    there = run.corpus.profile.spans
    if missing := [layer for layer in run.config.spans or () if layer not in there]:
        return f"it has no layer {', '.join(missing)}"
    if state.pin == run.pin:
        return ""
    if not state.content:
        return "an earlier version did not write down what the run read"
    return changed_content(state.content, run.content) or "what was read has another hash"


def resume_point(run: Run, written: str) -> tuple[Run, Ledger, RunState | None]:
    """Return a run as it began, and the ledger and the state that it resumes from; before the first
    step there is no state.

    written: the state of the newest checkpoint, as it is written.

    Raises:
        UserError: The checkpoint belongs to another corpus or to other settings; stages and tasks
            may only be added at the end.
    """
    if not written:
        return run, run.first_ledger(), None
    ledger, values = parse_state(written)
    run, state = with_spans(run, RunState.of_json(values))
    config = run.config
    before = Run(config_of_checkpoint(config, state))
    problem = corpus_difference(before, state)
    then, now = (
        identity(settings) for settings in (state.settings, before.config.model_dump(mode="json"))
    )
    if changed := differences(then, now):
        listed = ", ".join(f"{key} ({old}, now {new})" for key, (old, new) in changed.items())
        raise UserError(
            f"run {config.run} has a checkpoint at step {ledger.step} made with other settings of "
            f"{listed}; restore them or choose another run folder"
        )
    if problem:
        raise UserError(
            f"run {config.run} was trained on another corpus than {config.corpus}: {problem}; name "
            "the place of its own with --corpus DIR, or choose another run folder"
        )
    return run, run.stage_streams.longer_ledger(ledger, before.stage_streams), state


def changed_settings(
    resolved: RunConfig, state: RunState | None, precision: str
) -> dict[str, tuple[Any, Any]]:
    """Return the settings that a run goes on with in place of those of its checkpoint: dotted key
    -> (old, new).

    precision: that `auto` has come to, which another machine may change.
    """
    if state is None:
        return {}
    found = differences(
        state.settings, config_of_checkpoint(resolved, state).model_dump(mode="json")
    )
    before = state.precision or precision
    return found | (
        {"training.precision in use": (before, precision)} if before != precision else {}
    )


def reallocation(config: RunConfig, plan: Plan, step: int, workers: int) -> dict[str, Any]:
    """Return what is left of a run before a step, and what each of so many workers takes of it."""
    table, number = plan.table, plan.table.stage_of(step)
    left = {task: plan.left(step).get(task, 0.0) for task in table.tasks}
    shape = config.stage_data[number]
    tokens = {task: budget * shape.rows * shape.row_length for task, budget in left.items()}
    for stage, shape in list(zip(table.stages, config.stage_data, strict=True))[number + 1 :]:
        for task, budget in stage.budgets.items():
            left[task] += budget
            tokens[task] += budget * shape.rows * shape.row_length
    by_worker = {task: count / workers for task, count in tokens.items()}
    rows = config.stage_data[number].rows // workers
    return {
        "workers": workers,
        "rows_of_each_worker": rows,
        "left": left,
        "tokens_of_each_worker": by_worker,
    }


def load_newest(run: Run, trainer: Trainer, state: RunState, step: int) -> None:
    """Give weights and moments what the main worker's newest checkpoint holds; heads and branches
    that came after it stay as they were made.

    state: of that checkpoint; step: so many were taken.
    """
    model, send = trainer.model, trainer.workers.from_main
    # Where only the main worker sees the folder, only it has a path; the others are sent what it
    # reads.
    checkpoint = next(reversed(checkpoints(RunFolder(run.config.run).checkpoints)), run.config.run)
    before = Run(config_of_checkpoint(run.config, state))
    known = run_heads(run.instances[: len(state.tasks)])
    new = new_since(model, known, before.table.tasks, before.sharing)
    load_weights(checkpoint, model, new, send)
    load_optimizer(checkpoint, model, trainer.optimizer, send)
    model.sharing = with_decisions(model.sharing, state.sharing)
    # Until the next step, tasks take the layers that they took in the last one.
    model.route(max(0, step - 1))
