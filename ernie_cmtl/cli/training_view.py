"""A run on a terminal, for the verbs that train."""

from collections.abc import Mapping
from typing import Any

import typer
from rich.console import Console, Group
from rich.progress import Progress, TaskID

from ernie_cmtl.cli.score_tables import retention_tables, score_table
from ernie_cmtl.cli.shared import console, print_result, progress_bar
from ernie_cmtl.config import RunConfig
from ernie_cmtl.evaluation.heldout import HeadScore
from ernie_cmtl.run.observer import Observer
from ernie_cmtl.scheduling.feedback import Decision
from ernie_cmtl.verbs.pretrain import pretrain

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
        self._progress.update(
            self._bar,
            completed=line["step"],
            description=f"[bold]{stage}[/] {line['step']}",
            rate=rate,
        )
        self._progress.console.print(
            f"[dim]{line['step']:>7}[/] loss {line['loss']:.4f}  {scores}  [dim]{rate}[/]",
            highlight=False,
            soft_wrap=True,
        )

    def skipped(self, line: dict[str, Any]) -> None:
        """Name a step that changed nothing."""
        tasks = ", ".join(line["tasks"])
        where = f", groups {line['groups']}" if line["groups"] else ""
        self._console.print(
            f"step {line['step']} skipped for {tasks}{where}, gradient norm "
            f"{line['gradient_norm']}",
            style="red",
        )

    def unwritten(self, problem: str) -> None:
        """Say what is not written."""
        self._console.print(problem, style="red", markup=False, highlight=False, soft_wrap=True)

    def evaluated(self, stage: str, step: int, scores: dict[str, HeadScore]) -> None:
        """Show held-out scores."""
        self._console.print(score_table(f"held out, step {step}, stage {stage}", scores))

    def reallocated(self, before: int, line: dict[str, Any]) -> None:
        """Say what each worker takes over."""
        left = ", ".join(f"{task} {iterations:,.1f}" for task, iterations in line["left"].items())
        now = (
            f"{line['workers']} worker(s) in place of {before}, {line['rows_of_each_worker']} rows "
            "each"
        )
        self._console.print(f"{now}; left: {left}")

    def fell_back(self, step: int, damaged: list[str]) -> None:
        """Name each damaged checkpoint."""
        for problem in damaged:
            self._console.print(problem, style="red", markup=False, highlight=False, soft_wrap=True)
        self._console.print(
            f"the run falls back to step {step}; what is damaged is kept as damaged-step-N"
        )

    def changed(self, settings: dict[str, tuple[Any, Any]]) -> None:
        """List the settings that are not those of the checkpoint."""
        listed = ", ".join(f"{key} {old} -> {new}" for key, (old, new) in settings.items())
        self._console.print(
            f"settings changed since the checkpoint: {listed}", markup=False, soft_wrap=True
        )

    def decided(self, stage: str, decision: Decision) -> None:
        """Say what each task gets now."""
        moved = (
            f"{task} {decision.left[task]:,.1f} -> {now:,}"
            for task, now in decision.revision.budgets.items()
        )
        self._console.print(
            f"feedback, step {decision.revision.step}, stage {stage}: {', '.join(moved)}"
        )

    def stopped(self, step: int) -> None:
        """Say how to go on."""
        self._console.print(f"stopped; step {step} is saved: the same command goes on from there")


def _score(score: HeadScore) -> str:
    accuracy = "" if score["accuracy"] is None else f" {score['accuracy']:.1%}"
    return f"{score['loss']:.3f}{accuracy}"


def train(settings: RunConfig, as_json: bool, more: Mapping[str, Any] | None = None) -> None:
    """Train a run before people's eyes and print what it reports, with more; exit with 130 if it
    was interrupted.
    """
    with progress_bar(console) as progress:
        result = pretrain(settings, RunView(console, progress))
    title = f"{result['run']}: {result['steps']} steps"
    tables = [score_table(title, result["heldout"]), *retention_tables(result["retention"])]
    print_result(result | dict(more or {}), as_json, lambda: Group(*tables))
    if result["interrupted"]:
        raise typer.Exit(STOPPED)
