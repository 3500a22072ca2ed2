"""The verb plan on the command line."""

from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from ernie_cmtl.cli.shared import (
    ConfigFile,
    CorpusFolder,
    Json,
    Overrides,
    PluginModules,
    add_plugins,
    print_result,
    with_corpus,
)
from ernie_cmtl.cli.tables import Table
from ernie_cmtl.cli.terminal import styled

EXAMPLE = (
    "Example: ernie-cmtl plan configs/paper/continual_multitask.yaml --gpus 8 --peak-tflops 989 "
    "--mfu 0.35"
)

_WITHOUT_HOURS = (
    "give --peak-tflops and --mfu; ernie-cmtl bench with the same words measures both on this "
    "machine (peak_tflops, mfu)"
)


def plan(
    config: ConfigFile,
    overrides: Overrides = None,
    corpus: CorpusFolder = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Show the share of each of this number of workers.")
    ] = 1,
    gpus: Annotated[int, typer.Option(min=1, help="Number of devices, to estimate the hours.")] = 1,
    peak_tflops: Annotated[
        float | None,
        typer.Option(min=1e-6, help="Peak TFLOP/s of one device, to estimate the hours."),
    ] = None,
    mfu: Annotated[
        float | None,
        typer.Option(
            min=1e-6, max=1, help="Fraction of the peak that is reached, to estimate the hours."
        ),
    ] = None,
    plugin: PluginModules = None,
    as_json: Json = False,
) -> None:
    """Show the stage table of a run and its cost, without training."""
    from ernie_cmtl.run.open import read_config
    from ernie_cmtl.verbs.plan import plan as describe_plan

    add_plugins(plugin)
    settings = read_config(config, with_corpus(overrides, corpus))
    result = describe_plan(settings, workers, gpus, peak_tflops, mfu)
    print_result(result, as_json, lambda: plan_table(result))


def plan_table(plan: dict[str, Any]) -> RenderableType:
    """Return the stage table as the paper prints it, a row a task and a column a stage, and below
    it what the run costs.
    """
    return Group(
        _budgets(plan), _costs(plan), *(styled(warning, "yellow") for warning in plan["warnings"])
    )


def _budgets(plan: dict[str, Any]) -> Table:
    stages = plan["stages"]
    table = Table(
        "task",
        *(f"S{number}" for number in range(1, len(stages) + 1)),
        "total",
        *(["epochs"] if plan["epochs"] else []),
        title=f"{plan['run']}: iterations, {plan['mode']}",
    )
    for task, total in plan["totals"].items():
        cells = [
            f"{stage['budgets'][task]:,}" if task in stage["budgets"] else "-" for stage in stages
        ]
        epochs = [f"{plan['epochs'][task]:,}"] if plan["epochs"] else []
        table.add_row(task, *cells, f"{total:,}", *epochs)
    steps = (f"{stage['steps']:,}" for stage in stages)
    table.add_row("steps", *steps, f"{plan['total']:,}", style="bold")
    return table


def _costs(plan: dict[str, Any]) -> Table:
    table = Table("", "")
    for number, stage in enumerate(plan["stages"], 1):
        samples = (
            f", samples of up to {stage['maximum_length']}"
            if stage["maximum_length"] < stage["row_length"]
            else ""
        )
        table.add_row(
            f"S{number}",
            f"{stage['name']}, {stage['rows']:,} rows of {stage['row_length']} tokens a "
            f"step{samples}",
        )
        if plan["workers"] > 1:
            share = stage["each_worker"]
            tokens = ", ".join(f"{task} {_short(count)}" for task, count in share["tokens"].items())
            rows = f"{share['rows']:,} rows in {share['groups']:,} group(s)"
            table.add_row(f"  each of {plan['workers']} workers", f"{rows}; tokens: {tokens}")
    by_task = ", ".join(f"{task} {_short(count)}" for task, count in plan["tokens_by_task"].items())
    table.add_row("tokens", f"{_short(plan['tokens'])}: {by_task}")
    flops = (
        "not known: the sizes of encoder.init_from cannot be read here"
        if plan["flops"] is None
        else f"{plan['flops']:.4g}"
    )
    table.add_row("operations", f"{flops} (vocabulary {plan['vocabulary_size']:,})")
    if sharing := plan["sharing"]:
        _add_sharing(table, sharing)
    table.add_row("hours", _WITHOUT_HOURS if plan["hours"] is None else f"{plan['hours']:,}")
    return table


def _add_sharing(table: Table, sharing: dict[str, Any]) -> None:
    counts = (f"{name} {_short(count)}" for name, count in sharing["parameters"].items() if count)
    table.add_row("parameters", ", ".join(counts))
    layers = sharing["private_layers"]
    if sharing["splits"]:
        table.add_row(
            "sharing",
            f"{sharing['mode']}, all tasks begin on the trunk and may part in the last {layers} "
            "layer(s)",
        )
    if sharing["begins"]:
        groups = (f"{name}: {', '.join(tasks)}" for name, tasks in sharing["groups"].items())
        table.add_row(
            "sharing",
            f"{sharing['mode']}, the last {layers} layer(s) for each of {'; '.join(groups)}",
        )


def _short(number: float) -> str:
    """Return a count with three digits or so."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"
