"""The verb watch on the command line: a view of a run that renews itself."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from ernie_cmtl.cli.progress import clock
from ernie_cmtl.cli.shared import Json, RunFolder, print_result
from ernie_cmtl.cli.tables import Table
from ernie_cmtl.cli.terminal import Terminal, styled

EXAMPLE = "Example: ernie-cmtl watch runs/quickstart/run --once"
_BLOCKS = "▁▂▃▄▅▆▇█"
_MOST_WARNINGS = 8


def watch(
    run: RunFolder,
    every: Annotated[
        float, typer.Option("--every", min=0.5, help="Seconds between updates.")
    ] = 5.0,
    once: Annotated[bool, typer.Option("--once", help="Show the run once and exit.")] = False,
    as_json: Json = False,
) -> None:
    """Follow a running training: step, time left, speed, scores, warnings.

    In a pipe, and with --json, the run is shown once. Ctrl-C ends the view, not the run.
    """
    from ernie_cmtl.verbs.watch import watch as look

    terminal = Terminal()
    if once or as_json or not terminal.is_terminal:
        result = look(run)
        print_result(result, as_json, lambda: run_view(result))
        return
    _follow(terminal, run, every)


def _follow(terminal: Terminal, run: Path, every: float) -> None:
    from rich.live import Live

    from ernie_cmtl.verbs.watch import watch as look

    result = look(run)
    try:
        with Live(run_view(result), console=terminal, auto_refresh=False) as live:
            while result["step"] < result["steps"]:
                time.sleep(every)
                result = look(run)
                live.update(run_view(result), refresh=True)
    except KeyboardInterrupt:
        terminal.say("the view ended; the run trains on", "yellow")


def run_view(result: dict[str, Any]) -> RenderableType:
    """Return what is known of a run as a table, with the warnings below it."""
    left, speed = result["seconds_left"], result["real_tokens_per_second"]
    facts = [
        f"step {result['step']:,} of {result['steps']:,} "
        f"({result['step'] / max(1, result['steps']):.0%})",
        f"stage {result['stage']}",
        *([f"{clock(left)} left"] if left else []),
        *([f"{speed:,.0f} tokens/s"] if speed else []),
    ]
    table = Table(
        "head",
        "training loss",
        "",
        "accuracy",
        "held-out loss",
        "accuracy",
        title=f"{result['run']}: {', '.join(facts)}",
    )
    for name, head in result["heads"].items():
        table.add_row(
            name,
            curve(head["losses"]),
            _number(head.get("loss")),
            _percent(head.get("accuracy")),
            _number(head.get("heldout_loss")),
            _percent(head.get("heldout_accuracy")),
        )
    shown = result["warnings"][:_MOST_WARNINGS]
    if more := len(result["warnings"]) - len(shown):
        shown.append(f"{more} more warnings; the verb report lists them")
    return Group(table, *(styled(text, "yellow") for text in shown))


def curve(values: list[float]) -> str:
    """Return values as a line of blocks, the lowest as the smallest one."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    span = (high - low) or 1.0
    return "".join(_BLOCKS[int((value - low) / span * (len(_BLOCKS) - 1))] for value in values)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
