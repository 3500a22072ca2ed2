"""What people see of a plan."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table


def plan_table(plan: dict[str, Any]) -> RenderableType:
    """Return the stage table as the paper prints it, a row a task and a column a stage, and below it what the run costs."""
    return Group(_budgets(plan), _costs(plan), *(f"[yellow]{warning}[/]" for warning in plan["warnings"]))


def _budgets(plan: dict[str, Any]) -> Table:
    stages = plan["stages"]
    table = Table(title=f"{plan['run']}: iterations, {plan['mode']}", show_footer=True)
    table.add_column("task", footer="steps", no_wrap=True)
    for number, stage in enumerate(stages, 1):
        table.add_column(f"S{number}", footer=f"{stage['steps']:,}", justify="right", no_wrap=True)
    table.add_column("total", footer=f"{plan['total']:,}", justify="right", no_wrap=True)
    if plan["epochs"]:
        table.add_column("epochs", justify="right", no_wrap=True)
    for task, total in plan["totals"].items():
        cells = [f"{stage['budgets'][task]:,}" if task in stage["budgets"] else "-" for stage in stages]
        epochs = [f"{plan['epochs'][task]:,}"] if plan["epochs"] else []
        table.add_row(task, *cells, f"{total:,}", *epochs)
    return table


def _costs(plan: dict[str, Any]) -> Table:
    table = Table("", "", show_header=False)
    for number, stage in enumerate(plan["stages"], 1):
        samples = f", samples of up to {stage['maximum_length']}" if stage["maximum_length"] < stage["row_length"] else ""
        table.add_row(f"S{number}", f"{stage['name']}, {stage['rows']:,} rows of {stage['row_length']} tokens a step{samples}")
        if plan["workers"] > 1:
            share = stage["each_worker"]
            tokens = ", ".join(f"{task} {_short(count)}" for task, count in share["tokens"].items())
            rows = f"{share['rows']:,} rows in {share['groups']:,} group(s)"
            table.add_row(f"  each of {plan['workers']} workers", f"{rows}; tokens: {tokens}")
    by_task = ", ".join(f"{task} {_short(count)}" for task, count in plan["tokens_by_task"].items())
    table.add_row("tokens", f"{_short(plan['tokens'])}: {by_task}")
    flops = "not known: the sizes of encoder.init_from cannot be read here" if plan["flops"] is None else f"{plan['flops']:.4g}"
    table.add_row("operations", f"{flops} (vocabulary {plan['vocabulary_size']:,})")
    hours = "needs --peak-tflops and --mfu" if plan["hours"] is None else f"{plan['hours']:,}"
    table.add_row("hours", hours)
    return table


def _short(number: float) -> str:
    """Return a count with three digits or so."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"
