"""The verb export: the encoder of a run for other programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ernie_cmtl.errors import UserError, choices
from ernie_cmtl.export.classifier import check_head
from ernie_cmtl.export.provenance import provenance
from ernie_cmtl.export.push import HubPlace, check_push, push
from ernie_cmtl.export.trained import TrainedModel
from ernie_cmtl.export.views import take_view
from ernie_cmtl.export.writer import EXPORT_FORMATS, ExportFormat, open_format, write_export
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.records import MASKED_TOKEN, Ledger
from ernie_cmtl.run.folder import RunFolder
from ernie_cmtl.run.logged_retention import newest_losses
from ernie_cmtl.run.open import open_run
from ernie_cmtl.run.run import Run
from ernie_cmtl.task_instance import TaskInstance


def export_run(
    folder: Path,
    output: Path,
    step: int | None,
    format: str = "hf",
    task: str | None = None,
    verified: bool = True,
    corpus: Path | None = None,
    view: str | None = None,
    head: str | None = None,
    settings: Sequence[str] = (),
    license: str | None = None,
    datasets: Sequence[str] = (),
    hub: HubPlace | None = None,
) -> dict[str, Any]:
    """Export a run; returns path, format and what the format measures of its own result.

    task: whose row of the task embedding is folded into the weights, where the exported class takes
    no task; None means the first one that masks tokens and uses the exported layers. view: a group
    or task whose layers are exported where tasks have layers of their own, or "mean" of those that
    are softly shared; None means the trunk. head: `TASK/HEAD` that is exported with the row and the
    layers of its task; None means the head for masked tokens. verified: load the result and compare
    it with the run. corpus: in place of the run's own; its tokenizer is exported. settings: options
    of the format, as `key=value`. license, datasets: what the card says of them. hub: where it
    is pushed, once it is written.

    Raises:
        UserError: The run cannot be opened, the format, task, view, head or option is unknown or
            does not fit the run, the output folder holds what no export wrote, or it cannot be
            pushed.
    """
    if hub:
        check_push(hub)
    chosen = open_format(format, settings)
    if head:
        _check_head_fits(chosen, format, head, task or view)
    run, model, ledger = open_run(folder, step, corpus)
    if head:
        check_head(model.specs, head)
        task = head.partition("/")[0]
        view = task if model.sharing.branches else None
    sharing = take_view(model, run.instances, ledger.step, view)
    users = [instance for instance in run.instances if instance.name in sharing["tasks_of_view"]]
    folds = bool(head) or chosen.folds_task(model.family)
    viewed = viewed_task(run, model, task, users, folds)
    _check_not_fed(model, run, viewed)
    about = _about(run, ledger, folder) | sharing
    about["folded_row"] = viewed.row if folds else None
    if head:
        about["exported_head"] = head
    trained = TrainedModel(
        model.cpu(),
        run.corpus.tokenizer,
        viewed.row,
        about,
        head,
        provenance(run.corpus.profile.language, run.config.encoder.init_from, license, datasets),
    )
    result = write_export(format, trained, output, verified, chosen)
    if hub:
        message = f"Export ({format}) of a run at step {ledger.step}"
        result["pushed"] = push(output, hub, message)
    return result


def _check_head_fits(chosen: ExportFormat, format: str, head: str, other: str | None) -> None:
    """Refuse a head that is asked for together with another task, or in a format that has none.

    Raises:
        UserError: It is.
    """
    if other:
        raise UserError(
            f"--head {head} takes the row and the layers of its own task; leave --task and --view "
            "out"
        )
    if not chosen.takes_heads:
        takers = [name for name in EXPORT_FORMATS.names() if EXPORT_FORMATS.find(name).takes_heads]
        raise UserError(
            f"--format {format} holds no head of a task; formats for --head: {', '.join(takers)}"
        )


def _about(run: Run, ledger: Ledger, folder: Path) -> dict[str, Any]:
    """Return what an export says of its run."""
    heads = {
        f"{i.name}/{s.name}": {
            "kind": s.kind,
            "classes": list(s.class_names),
            "layer": s.encoder_layer,
        }
        for i in run.instances
        for s in i.specs
    }
    measured, losses = newest_losses(RunFolder(folder).metrics, ledger.step)
    return {
        "steps": ledger.step,
        "stages": [stage.name for stage in run.table.stages],
        "tasks": {instance.name: instance.row for instance in run.instances},
        "task_embedding": run.config.encoder.task_embedding,
        "heads": heads,
        "losses": losses,
        "losses_at_step": measured,
    }


def _check_not_fed(model: MultiTaskModel, run: Run, viewed: TaskInstance) -> None:
    """Refuse the view of a task whose states get what other tasks predict: no stock class adds
    that.

    Raises:
        UserError: It is such a task.
    """
    fed = {run.instances[number].name for feed in model.feeds for number in feed.receivers}
    if viewed.name in fed:
        others = [instance.name for instance in run.instances if instance.name not in fed]
        raise UserError(
            f"task {viewed.name!r} is fed what lower tasks predict (sharing.feed), which no class "
            f"of transformers does; {choices(viewed.name, others, 'accepted are --task')}"
        )


def viewed_task(
    run: Run,
    model: MultiTaskModel,
    task: str | None = None,
    users: Sequence[TaskInstance] = (),
    folds: bool | None = None,
) -> TaskInstance:
    """Return the task whose row of the task embedding a stock class without tasks gets; None: the
    first one that masks tokens, or else the first, of those that use the exported layers (users;
    none: of all).

    folds: does the exported class take no task; None: as the family's own stock class.

    Raises:
        UserError: There is no such task, or the stock class takes every task.
    """
    if task is None:
        among = users or run.instances
        masks = [one for one in among if MASKED_TOKEN in one.heads]
        return (masks or among)[0]
    if not (model.family.folds_task if folds is None else folds):
        raise UserError(
            "this encoder's export takes the task with each input (task_type_ids), so it holds all "
            "tasks; leave --task out, or choose --format bert"
        )
    found = {instance.name: instance for instance in run.instances}
    if task not in found:
        raise UserError(
            f"run {run.config.run} has no task {task!r}; {choices(task, found, 'it has')}"
        )
    return found[task]
