"""A run folder that was written: its configuration and the model of one of its checkpoints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import ErnieForMaskedLM

from ernie_cmtl.config import RunConfig, load_run_config
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.errors import UserError
from ernie_cmtl.evaluation.heldout import HeadScore, heldout_scores
from ernie_cmtl.evaluation.judged import DEVICE, JudgedModel
from ernie_cmtl.export.huggingface import export_huggingface, stock_config, stock_state
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.records import Ledger
from ernie_cmtl.run.assemble import Run
from ernie_cmtl.run.resume import made_with
from ernie_cmtl.run.retention import run_retention
from ernie_cmtl.settings import validate
from ernie_cmtl.task import run_heads
from ernie_cmtl.training.checkpoint import check_checkpoint, checkpoints, load_state, load_weights
from ernie_cmtl.training.workers import Workers


def saved_config(folder: Path) -> RunConfig:
    """Read the configuration of a run folder.

    Raises:
        UserError: It is no run folder.
    """
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder} is no run folder: it has no config.yaml; train one with the verb pretrain")
    return load_run_config(folder / "config.yaml")


def open_run(folder: Path, step: int | None = None, corpus: Path | None = None) -> tuple[Run, MultiTaskModel, Ledger]:
    """Open a run folder with the model of its newest checkpoint, or of the one at a step, and the stages that it knows.

    corpus: in place of the run's own.

    Raises:
        UserError: It is no run folder, has no checkpoint (at that step) or a damaged one, its corpus changed since, or the
            other corpus has another vocabulary.
    """
    config = saved_config(folder)
    found = {int(path.name.removeprefix("step-")): path for path in checkpoints(folder / "checkpoints")}
    if not found:
        raise UserError(f"run {folder} has no checkpoint yet")
    if step is not None and step not in found:
        raise UserError(f"run {folder} has no checkpoint at step {step}; it has {', '.join(map(str, found))}")
    checkpoint = found[max(found) if step is None else step]
    check_checkpoint(checkpoint)
    ledger, about = load_state(checkpoint)
    run = Run(made_with(config, about))
    if corpus:
        vocabulary = run.corpus.manifest.vocabulary_hash
        run = Run(run.config.model_copy(update={"corpus": corpus, "mixture": None}))
        if run.corpus.manifest.vocabulary_hash != vocabulary:
            raise UserError(f"corpus {corpus} has another vocabulary than run {folder}; prepare it with the run's tokenizer")
    elif about["pin"] != run.pin:
        raise UserError(f"corpus {run.config.corpus} is not the one that run {folder} was trained on")
    # The weights come from the checkpoint; where the run once started from need not be there any more.
    encoder = run.config.encoder.model_copy(update={"init_from": None})
    model = Run(run.config.model_copy(update={"encoder": encoder})).make_model()
    load_weights(checkpoint, model)
    return run, model, ledger


def evaluate_run(
    folder: Path, step: int | None, corpus: Path | None = None, settings: Sequence[str] = (), by_source: bool = True
) -> dict[str, Any]:
    """Measure the held-out loss and accuracy of each task of a run, over its mixture and for each source of the text.

    settings: `tasks.NAME.OPTION=value` of the held-out examples in place of the run's own, and `training.heldout_samples=N`;
    by_source: measure each source apart too, where there are several.
    """
    run, model, ledger = open_run(folder, step, corpus)
    run = _with_settings(run, settings)
    workers = Workers(run.config.training.precision)
    workers.wrap(model)
    sources = list(run.corpus.manifest.sources)
    apart = sources if by_source and len(sources) > 1 else []
    heldout = _heldout(run, model, workers, run.streams("heldout"))
    return {
        "run": str(folder),
        "corpus": str(run.config.corpus),
        "step": ledger.step,
        "settings": list(settings),
        "heldout": heldout,
        "sources": {name: _heldout(run, model, workers, run.heldout_of(name)) for name in apart},
        "retention": run_retention(folder, run.table, ledger.step),
    }


def _with_settings(run: Run, settings: Sequence[str]) -> Run:
    """Return a run whose held-out examples are made with other settings; its heads must answer them as they are."""
    for setting in settings:
        if not setting.startswith(("tasks.", "training.heldout_samples=")):
            raise UserError(f"evaluate takes tasks.NAME.OPTION=value and training.heldout_samples=N, not {setting!r}")
    changed = Run(validate(RunConfig, run.config.model_dump(mode="json"), settings, f"run {run.config.run}"))
    heads = run_heads(run.instances)
    if unknown := [name for name, spec in run_heads(changed.instances).items() if heads.get(name) != spec]:
        raise UserError(f"run {run.config.run} has no head {unknown[0]!r} as {' '.join(settings)} asks for it")
    return changed


def judged_run(folder: Path, step: int | None) -> JudgedModel:
    """Return a run's model as its export would load, without writing one."""
    run, model, _ = open_run(folder, step)
    stock = ErnieForMaskedLM(stock_config(model))
    stock.set_attn_implementation("eager")
    # The pooler has no place in this class.
    stock.load_state_dict(stock_state(model), strict=False)
    tokenizer = run.corpus.tokenizer
    tokenizer.model_max_length = stock.config.max_position_embeddings
    return JudgedModel(str(folder), stock.train(False).to(DEVICE), tokenizer)


def export_run(folder: Path, output: Path, step: int | None) -> dict[str, Any]:
    """Export a run for transformers; returns path, format and the largest logit difference."""
    run, model, ledger = open_run(folder, step)
    heads = {f"{i.name}/{s.name}": {"kind": s.kind, "classes": list(s.class_names)} for i in run.instances for s in i.specs}
    scores = _heldout(run, model, Workers("fp32"), run.streams("heldout"))
    about = {
        "steps": ledger.step,
        "stages": [stage.name for stage in run.table.stages],
        "tasks": {instance.name: instance.row for instance in run.instances},
        "task_embedding": run.config.encoder.task_embedding,
        "heads": heads,
        "losses": {name: score["loss"] for name, score in scores.items()},
    }
    return export_huggingface(model.cpu(), run.corpus.tokenizer, output, about)


def _heldout(run: Run, model: MultiTaskModel, workers: Workers, streams: list[SampleStream]) -> dict[str, HeadScore]:
    config, pad_id = run.config, run.corpus.vocabulary.pad_id
    model.to(workers.device)
    return heldout_scores(model, streams, config.training.heldout_samples, config.data, pad_id, workers)
