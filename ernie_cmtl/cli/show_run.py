"""What people see of a run: its training and its scores."""

from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.progress import Progress, TaskID
from rich.table import Column, Table

from ernie_cmtl.cli.calls import console, print_result
from ernie_cmtl.cli.show_corpus import progress_bar
from ernie_cmtl.config import RunConfig
from ernie_cmtl.evaluation.heldout import HeadScore
from ernie_cmtl.run.pretrain import pretrain
from ernie_cmtl.run.progress import Observer
from ernie_cmtl.scheduling.feedback import Decision

STOPPED = 130


class RunView(Observer):
    """A run on a terminal: a bar while it trains, a table at each held-out evaluation."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self._console, self._progress = console, progress
        self._bar = TaskID(0)

    def started(self, steps: int, done: int, workers: int, precision: str) -> None:
        """Open the bar."""
        where = f"goes on at step {done}" if done else "starts"
        self._console.print(f"run {where}: {steps} steps, {workers} worker(s), {precision}")
        self._bar = self._progress.add_task("", total=steps, completed=done, rate="")

    def logged(self, stage: str, line: dict[str, Any]) -> None:
        """Move the bar and say how each task does."""
        scores = "  ".join(f"{name} {_score(score)}" for name, score in line["tasks"].items())
        rate = f"{line['real_tokens_per_second']:,.0f} tokens/s"
        self._progress.update(self._bar, completed=line["step"], description=f"[bold]{stage}[/] {line['step']}", rate=rate)
        self._progress.console.print(
            f"[dim]{line['step']:>7}[/] loss {line['loss']:.4f}  {scores}  [dim]{rate}[/]", highlight=False, soft_wrap=True
        )

    def skipped(self, line: dict[str, Any]) -> None:
        """Name a step that changed nothing."""
        tasks = ", ".join(line["tasks"])
        where = f", groups {line['groups']}" if line["groups"] else ""
        self._console.print(f"step {line['step']} skipped for {tasks}{where}, gradient norm {line['gradient_norm']}", style="red")

    def unwritten(self, problem: str) -> None:
        """Say what is not written."""
        self._console.print(problem, style="red", markup=False, highlight=False, soft_wrap=True)

    def evaluated(self, stage: str, step: int, scores: dict[str, HeadScore]) -> None:
        """Show held-out scores."""
        self._console.print(score_table(f"held out, step {step}, stage {stage}", scores))

    def reallocated(self, before: int, line: dict[str, Any]) -> None:
        """Say what each worker takes over."""
        left = ", ".join(f"{task} {iterations:,.1f}" for task, iterations in line["left"].items())
        now = f"{line['workers']} worker(s) in place of {before}, {line['rows_of_each_worker']} rows each"
        self._console.print(f"{now}; left: {left}")

    def fell_back(self, step: int, damaged: list[str]) -> None:
        """Name each damaged checkpoint."""
        for problem in damaged:
            self._console.print(problem, style="red", markup=False, highlight=False, soft_wrap=True)
        self._console.print(f"the run falls back to step {step}; what is damaged is kept as damaged-step-N")

    def changed(self, settings: dict[str, tuple[Any, Any]]) -> None:
        """List the settings that are not those of the checkpoint."""
        listed = ", ".join(f"{key} {old} -> {new}" for key, (old, new) in settings.items())
        self._console.print(f"settings changed since the checkpoint: {listed}", markup=False, soft_wrap=True)

    def decided(self, stage: str, decision: Decision) -> None:
        """Say what each task gets now."""
        moved = (f"{task} {decision.left[task]:,.1f} -> {now:,}" for task, now in decision.revision.budgets.items())
        self._console.print(f"feedback, step {decision.revision.step}, stage {stage}: {', '.join(moved)}")

    def stopped(self, step: int) -> None:
        """Say how to go on."""
        self._console.print(f"stopped; step {step} is saved: the same command goes on from there")


def _score(score: HeadScore) -> str:
    accuracy = "" if score["accuracy"] is None else f" {score['accuracy']:.1%}"
    return f"{score['loss']:.3f}{accuracy}"


def retention_tables(retention: Mapping[str, Any]) -> list[Table]:
    """Return the retention matrix as a table, a column for each stage; none where fewer than two places were measured."""
    matrix, measures = retention["matrix"], retention["heads"]
    if len(matrix) < 2:
        return []
    stages = [f"S{number}" for number in range(1, len(matrix))] if matrix[0]["step"] == 0 else [row["stage"] for row in matrix]
    columns = (Column("task, head", no_wrap=True), *(["start"] if matrix[0]["step"] == 0 else []), *stages)
    caption = "accuracy; where there is none: loss, and measures of the normalised loss"
    table = Table(*columns, "forget-\nting", "transfer\nback", title="retention", caption=caption, box=SIMPLE_HEAD)
    # Narrow enough for four stages in eighty columns.
    table.padding, table.show_edge, table.pad_edge = (0, 1, 0, 0), False, False
    shown = ""
    for name in matrix[-1]["tasks"]:
        task, _, head = name.partition("/")
        if task != shown:
            table.add_row(f"[bold]{task}[/]")
            shown = task
        table.add_row(f"  {head}", *_retention_cells(name, matrix, measures))
    return [table]


def _retention_cells(name: str, matrix: Sequence[Mapping[str, Any]], measures: Mapping[str, Any]) -> list[str]:
    with_accuracy = name in measures["accuracy"]
    form, value = ("{:.1%}", "accuracy") if with_accuracy else ("{:.3f}", "loss")
    found = measures["accuracy" if with_accuracy else "normalised_loss"][name]
    cells = [row["tasks"].get(name, {}).get(value) for row in matrix] + [found["forgetting"], found["backward_transfer"]]
    return ["-" if cell is None else form.format(cell) for cell in cells]


def interval_text(interval: Sequence[float] | None) -> str:
    """Return a 95 % interval of a share, for people."""
    return f"[dim]({interval[0]:.1%} to {interval[1]:.1%})[/]" if interval else ""


def score_table(title: str, scores: Mapping[str, HeadScore]) -> Table:
    """Return held-out scores as a table."""
    table = Table("task / head", "loss", "accuracy", "labels", title=title)
    for name, score in scores.items():
        accuracy = "-" if score["accuracy"] is None else f"{score['accuracy']:.2%} {interval_text(score.get('interval'))}"
        table.add_row(name, f"{score['loss']:.4f}", accuracy, f"{score['labels']:,}")
        for group, inner in score.get("given", {}).items():
            if inner["classes"] > 1:
                chance = f"[dim](chance {1 / inner['classes']:.2%})[/]"
                row = (f"  given {group}", f"{inner['loss']:.4f}", f"{inner['accuracy']:.2%} {chance}", f"{inner['labels']:,}")
                table.add_row(*row)
    return table


def train(settings: RunConfig, as_json: bool, more: Mapping[str, Any] | None = None) -> None:
    """Train a run before people's eyes and print what it reports, with more; exit with 130 if it was interrupted."""
    with progress_bar(console) as progress:
        result = pretrain(settings, RunView(console, progress))
    title = f"{result['run']}: {result['steps']} steps"
    tables = [score_table(title, result["heldout"]), *retention_tables(result["retention"])]
    print_result(result | dict(more or {}), as_json, lambda: Group(*tables))
    if result["interrupted"]:
        raise typer.Exit(STOPPED)
