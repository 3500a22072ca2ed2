"""The verb plan: what a run will do and what it costs, before anything runs."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import torch

from ernie_cmtl.config import RunConfig, TaskConfig
from ernie_cmtl.corpus.store.manifest import MANIFEST
from ernie_cmtl.errors import UserError
from ernie_cmtl.model.encoder import encoder_family
from ernie_cmtl.model.flops import encoder_flops, low_rank_flops, vocabulary_flops
from ernie_cmtl.model.sharing import TRUNK
from ernie_cmtl.run.instances import task_options
from ernie_cmtl.run.run import Run
from ernie_cmtl.scheduling.stages import StageTable

_VOCABULARY = 30_522
"""What is counted with where there is no corpus yet."""
_MANY_EPOCHS = 20
"""More rounds through the samples of a task than these are worth a warning."""
_Tokens = list[dict[str, int]]
"""Of each stage: task -> tokens."""


def plan(
    config: RunConfig, workers: int, gpus: int, peak_tflops: float | None, mfu: float | None
) -> dict[str, Any]:
    """Return the stage table with what it costs in tokens, operations and hours; nothing is
    trained.

    Operations count every sequence at the length that `data.maximum_length` allows.
    Hours need peak_tflops, of one device, and mfu. Epochs need the corpus.

    Raises:
        UserError: The workers cannot share the groups of rows, there are too many tasks, or a task
            or the corpus does not fit.
    """
    config.check_workers(workers)
    config.check_tasks()
    table = StageTable(config.stages)
    tokens = _tokens(config)
    per_task = {task: sum(stage.get(task, 0) for stage in tokens) for task in table.tasks}
    run = Run(config) if (config.corpus / MANIFEST).is_file() else None
    vocabulary = run.corpus.vocabulary.size if run else _VOCABULARY
    sharing = _sharing(run) if run else None
    flops = _training_flops(config, tokens, vocabulary)
    if flops and sharing and sharing["rank"]:
        places = sum(per_task.values())
        flops += low_rank_flops(places, sharing["parameters"]["branches"])
    epochs = _epochs(run, tokens) if run else None
    return {
        "run": str(config.run),
        "mode": config.mode,
        "stages": [
            _stage(config, number, tokens[number], workers) for number in range(len(table.stages))
        ],
        "totals": table.totals,
        "total": table.steps,
        "unit": "iterations",
        "tokens": sum(per_task.values()),
        "tokens_by_task": per_task,
        "flops": flops,
        "vocabulary_size": vocabulary,
        "sharing": sharing,
        "hours": _hours(flops, gpus, peak_tflops, mfu),
        "workers": workers,
        "epochs": epochs,
        "warnings": _warnings(epochs or {}),
    }


def _stage(
    config: RunConfig, number: int, tokens: Mapping[str, int], workers: int
) -> dict[str, Any]:
    stage, shape = config.stages[number], config.stage_data[number]
    each = {"rows": shape.rows // workers, "groups": shape.groups // workers}
    return {
        "name": stage.name,
        "budgets": stage.budgets,
        "steps": stage.steps,
        "row_length": shape.row_length,
        "maximum_length": shape.longest,
        "rows": shape.rows,
        "tokens": sum(tokens.values()),
        "each_worker": each | {"tokens": {task: count / workers for task, count in tokens.items()}},
    }


def _tokens(config: RunConfig) -> _Tokens:
    """Return the token places that each stage gives each task."""
    return [
        {task: budget * shape.rows * shape.row_length for task, budget in stage.budgets.items()}
        for stage, shape in zip(config.stages, config.stage_data, strict=True)
    ]


def _training_flops(config: RunConfig, tokens: _Tokens, vocabulary: int) -> int | None:
    """Return the operations of all steps, or None where the encoder's size is not known here.

    Of the heads only the vocabulary's counts, which reads the masked places.
    """
    family = encoder_family(config.encoder.architecture)
    try:
        encoder = family.sized(config.encoder)
    except UserError:
        return None
    layer, total = family.weights_of_layer(encoder), 0.0
    label = vocabulary_flops(encoder.hidden_size, vocabulary)
    by_stage = zip(config.stage_data, tokens, _masking_rates(config, tokens), strict=True)
    for shape, stage, rates in by_stage:
        for task, count in stage.items():
            total += encoder_flops(encoder, layer, {shape.longest: Fraction(count, shape.longest)})
            total += count * rates[task] * label
    return round(total)


def _sharing(run: Run) -> dict[str, Any] | None:
    """Return who shares which layers, and how many parameters there are; None where the encoder's
    size is not known here.

    A token passes as many layers whatever its branch, so copies cost no operations; `rank` adds
    two thin products to each matrix.
    """
    try:
        # Nothing is allocated.
        with torch.device("meta"):
            model = run.make_model()
    except UserError:
        # Of the mode and the tasks, nothing is hidden by a checkpoint that cannot be read.
        if not run.config.encoder.init_from:
            raise
        return None
    table = model.sharing
    groups = zip(run.table.tasks, table.groups or [TRUNK] * len(run.table.tasks), strict=True)
    tasks: dict[str, list[str]] = {}
    for task, group in groups:
        tasks.setdefault(group or "trunk", []).append(task)
    counted = {
        "encoder": model.encoder,
        "branches": model.branches or model.low_rank,
        "heads": model.heads,
    }
    return {
        "mode": run.config.sharing.mode,
        "private_layers": table.private_layers,
        "rank": table.rank or None,
        "groups": tasks,
        "begins": {}
        if table.splitting
        else dict(zip(table.branches, table.beginnings, strict=True)),
        "splits": table.splitting is not None,
        "parameters": {
            name: sum(parameter.numel() for parameter in module.parameters()) if module else 0
            for name, module in counted.items()
        },
    }


def _hours(
    flops: int | None, gpus: int, peak_tflops: float | None, mfu: float | None
) -> float | None:
    if flops is None or peak_tflops is None or mfu is None:
        return None
    return round(flops / (gpus * peak_tflops * 1e12 * mfu) / 3600, 3)


def _masking_rates(config: RunConfig, tokens: _Tokens) -> list[dict[str, float]]:
    """Return which part of each task's tokens is masked, in each stage; samples count as long as
    they may be.
    """
    found, done = [], dict.fromkeys(StageTable(config.stages).tasks, 0.0)
    options = {name: task_options(name, config.tasks.get(name, TaskConfig())) for name in done}
    for shape, stage in zip(config.stage_data, tokens, strict=True):
        rates = {}
        for task, count in stage.items():
            end = done[task] + count / shape.longest
            masking = options[task].masking
            masks = options[task].masked_tokens
            rates[task] = masking.mean_rate(done[task], end) if masks else 0.0
            done[task] = end
        found.append(rates)
    return found


def _epochs(run: Run, tokens: _Tokens) -> dict[str, float]:
    """Return how often a run goes through the samples of each task."""
    found = dict.fromkeys(run.table.tasks, 0.0)
    for number, data in run.stage_streams.of_steps(0, run.table.steps).items():
        for task, count in tokens[number].items():
            stream = data.streams[run.table.tasks.index(task)]
            found[task] += count / int(stream.index.slots.sum())
    return {task: round(rounds, 2) for task, rounds in found.items()}


def _warnings(epochs: Mapping[str, float]) -> list[str]:
    return [
        f"task {task} goes {rounds:,.0f} times through its samples; it has few of them for its "
        "budget"
        for task, rounds in epochs.items()
        if rounds > _MANY_EPOCHS
    ]
