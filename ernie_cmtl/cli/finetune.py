"""The verb finetune on the command line."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from ernie_cmtl.cli.shared import (
    CorpusFolder,
    Json,
    Overrides,
    PluginModules,
    add_plugins,
    print_result,
)
from ernie_cmtl.cli.tables import Table
from ernie_cmtl.cli.terminal import Terminal, console, styled

EXAMPLE = (
    "Example: ernie-cmtl finetune runs/quickstart/run --task configs/finetune/cola.yaml --data "
    "sets train.max_steps=100. The folder sets/ holds the files of the recipe."
)
_SPLITS = ("dev", "test")


def finetune(
    model: Annotated[
        str,
        typer.Argument(help="A run, an export, or a transformers model.", show_default=False),
    ],
    task: Annotated[Path, typer.Option("--task", help="YAML file of a recipe.")],
    overrides: Overrides = None,
    data: Annotated[Path, typer.Option("--data", help="Folder of the recipe's files.")] = Path(),
    random: Annotated[
        bool,
        typer.Option("--random", help="Start from random weights instead of the model's."),
    ] = False,
    step: Annotated[
        int | None, typer.Option(help="Step of a run's checkpoint; default: the newest.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="Folder for the best model: the best seed on dev, at the chosen learning rate.",
        ),
    ] = None,
    corpus: CorpusFolder = None,
    plugin: PluginModules = None,
    as_json: Json = False,
) -> None:
    """Fine-tune an encoder on a labelled set with several seeds; optionally keep the best."""
    from ernie_cmtl.finetuning.sets.recipe import Recipe
    from ernie_cmtl.settings import load
    from ernie_cmtl.verbs.finetune import finetune as finetune_model

    add_plugins(plugin)
    recipe = load(Recipe, task, [*(overrides or []), *(["init=random"] if random else [])])
    report = partial(show_model, console)
    result = finetune_model(model, recipe, data, step, report, corpus, output, task.stem)
    result = {"model": model, "task": str(task)} | result
    print_result(result, as_json, lambda: Group(*_shown(f"{model}, {task.stem}", result)))


def _shown(title: str, result: dict[str, Any]) -> Iterator[RenderableType]:
    """Yield the table of scores, and what is said of the model that was kept."""
    yield result_table(title, result)
    if kept := result.get("kept"):
        scores = "  ".join(f"{split} {_listed(kept[split])}" for split in _SPLITS if split in kept)
        yield styled(
            f"kept in {kept['path']}: learning rate {kept['learning_rate']:g}, seed "
            f"{kept['seed']}  {scores}; reloaded: max abs logit difference "
            f"{kept['max_abs_logit_difference']:g}"
        )


def show_model(console: Terminal, run: dict[str, Any]) -> None:
    """Say how one model did."""
    scores = "  ".join(f"{split} {_listed(run[split])}" for split in _SPLITS if split in run)
    where = (
        f"learning rate {run['learning_rate']:g}, seed {run['seed']}: {run['steps']} steps, "
        f"{run['seconds']:.0f} s"
    )
    one = "".join(f"  one class in {split}" for split in run["one_class"])
    console.say(f"{where}, loss {run['loss']:.4f}  {scores}{one}")


def _listed(scores: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.4f}" for name, value in scores.items())


def result_table(title: str, result: dict[str, Any]) -> Table:
    """Return mean and spread of every score for each learning rate; the chosen one is marked."""
    rates = list(dict.fromkeys(run["learning_rate"] for run in result["runs"]))
    of = {rate: [run for run in result["runs"] if run["learning_rate"] == rate] for rate in rates}
    seeds = len(of[rates[0]])
    row = "none" if result["task_row"] is None else result["task_row"]
    table = Table(
        "split",
        "score",
        "majority",
        *(_marked(rate, result) for rate in rates),
        title=f"{title}: {result['init']}, task row {row}, {seeds} seed(s)",
        caption=_one_class(result["runs"]),
    )
    for split in _SPLITS:
        for name in result["runs"][0].get(split, {}):
            values = [[run[split][name] for run in of[rate]] for rate in rates]
            chosen = (split, name) == (result["split"], result["metric"])
            majority = result["majority"].get(split, {}).get(name)
            same = "-" if majority is None else f"{majority:.4f}"
            style = "bold" if chosen else ""
            table.add_row(split, name, same, *map(_with_spread, values), style=style)
    return table


def _one_class(runs: list[dict[str, Any]]) -> str:
    """Say how many models give one and the same answer to all, if any do."""
    counts = {split: sum(split in run["one_class"] for run in runs) for split in _SPLITS}
    return "; ".join(
        f"{count} of {len(runs)} models answer one class in {split}"
        for split, count in counts.items()
        if count
    )


def _marked(rate: float, result: dict[str, Any]) -> str:
    return f"{rate:g}{' *' if rate == result['learning_rate'] and len(result['runs']) > 1 else ''}"


def _with_spread(values: list[float]) -> str:
    from ernie_cmtl.finetuning.finetune import spread

    deviation = spread(values)
    return f"{mean(values):.4f}" + (f" ± {deviation:.4f}" if deviation is not None else "")
