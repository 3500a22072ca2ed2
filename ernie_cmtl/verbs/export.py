"""The verb export: the encoder of a run for other programs."""

from pathlib import Path
from typing import Any

from ernie_cmtl.export.writer import EXPORT_FORMATS, TrainedModel, write_export
from ernie_cmtl.run.folder import RunFolder
from ernie_cmtl.run.logged_retention import newest_losses
from ernie_cmtl.run.open import open_run


def export_run(
    folder: Path, output: Path, step: int | None, format: str = "hf", verified: bool = True
) -> dict[str, Any]:
    """Export a run; returns path, format and what the format measures of its own result.

    verified: load the result and compare it with the run.

    Raises:
        UserError: The run cannot be opened, the format is unknown, or the output folder holds what
            no export wrote.
    """
    EXPORT_FORMATS.find(format)
    run, model, ledger = open_run(folder, step)
    heads = {
        f"{i.name}/{s.name}": {"kind": s.kind, "classes": list(s.class_names)}
        for i in run.instances
        for s in i.specs
    }
    measured, losses = newest_losses(RunFolder(folder).metrics, ledger.step)
    about = {
        "steps": ledger.step,
        "stages": [stage.name for stage in run.table.stages],
        "tasks": {instance.name: instance.row for instance in run.instances},
        "task_embedding": run.config.encoder.task_embedding,
        "heads": heads,
        "losses": losses,
        "losses_at_step": measured,
    }
    trained = TrainedModel(model.cpu(), run.corpus.tokenizer, about)
    return write_export(format, trained, output, verified)
