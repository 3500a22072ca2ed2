"""The verb export: the encoder of a run for other programs."""

from pathlib import Path
from typing import Any

from ernie_cmtl.export.huggingface import export_huggingface
from ernie_cmtl.run.open import open_run, score_heldout
from ernie_cmtl.training.distributed import Workers


def export_run(folder: Path, output: Path, step: int | None) -> dict[str, Any]:
    """Export a run for transformers; returns path, format and the largest logit difference."""
    run, model, ledger = open_run(folder, step)
    heads = {
        f"{i.name}/{s.name}": {"kind": s.kind, "classes": list(s.class_names)}
        for i in run.instances
        for s in i.specs
    }
    scores = score_heldout(run, model, Workers("fp32"), run.streams("heldout"))
    about = {
        "steps": ledger.step,
        "stages": [stage.name for stage in run.table.stages],
        "tasks": {instance.name: instance.row for instance in run.instances},
        "task_embedding": run.config.encoder.task_embedding,
        "heads": heads,
        "losses": {name: score["loss"] for name, score in scores.items()},
    }
    return export_huggingface(model.cpu(), run.corpus.tokenizer, output, about)
