"""What people see of a fine-tuning: a line for each model, a table of learning rates at the end."""

from statistics import mean
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from ernie_cmtl.finetuning.finetune import spread

_SPLITS = ("dev", "test")


def show_model(console: Console, run: dict[str, Any]) -> None:
    """Say how one model did."""
    scores = "  ".join(f"{split} {_listed(run[split])}" for split in _SPLITS if split in run)
    where = f"learning rate {run['learning_rate']:g}, seed {run['seed']}: {run['steps']} steps, {run['seconds']:.0f} s"
    console.print(f"{where}, loss {run['loss']:.4f}  {scores}", highlight=False, soft_wrap=True)


def _listed(scores: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.4f}" for name, value in scores.items())


def result_table(title: str, result: dict[str, Any]) -> Table:
    """Return mean and spread of every score for each learning rate; the chosen one is marked."""
    rates = list(dict.fromkeys(run["learning_rate"] for run in result["runs"]))
    of = {rate: [run for run in result["runs"] if run["learning_rate"] == rate] for rate in rates}
    columns = [Column("split"), Column("score"), *(Column(_marked(rate, result), justify="right") for rate in rates)]
    seeds = len(of[rates[0]])
    row = "none" if result["task_row"] is None else result["task_row"]
    table = Table(*columns, title=f"{title}: {result['init']}, task row {row}, {seeds} seed(s)", box=SIMPLE_HEAD)
    for split in _SPLITS:
        for name in result["runs"][0].get(split, {}):
            values = [[run[split][name] for run in of[rate]] for rate in rates]
            chosen = (split, name) == (result["split"], result["metric"])
            table.add_row(split, name, *map(_with_spread, values), style="bold" if chosen else None)
    return table


def _marked(rate: float, result: dict[str, Any]) -> str:
    return f"{rate:g}{' *' if rate == result['learning_rate'] and len(result['runs']) > 1 else ''}"


def _with_spread(values: list[float]) -> str:
    deviation = spread(values)
    return f"{mean(values):.4f}" + (f" ± {deviation:.4f}" if deviation is not None else "")
