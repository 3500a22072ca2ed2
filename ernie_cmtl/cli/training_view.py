"""A run on a terminal, for the verbs that train."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import typer
from rich.console import Group, RenderableType
from rich.progress import Progress, TaskID

from ernie_cmtl.cli.progress import progress_bar, times
from ernie_cmtl.cli.score_tables import retention_tables, score_table
from ernie_cmtl.cli.shared import print_result
from ernie_cmtl.cli.terminal import Terminal, console
from ernie_cmtl.config import RunConfig
from ernie_cmtl.evaluation.heldout import HeadScore
from ernie_cmtl.run.observer import Observer
from ernie_cmtl.scheduling.feedback import Decision
from ernie_cmtl.verbs.pretrain import pretrain

STOPPED = 130


class RunView(Observer):
    """A run on a terminal: a bar while it trains, a table at each held-out evaluation."""

    def __init__(self, terminal: Terminal, progress: Progress) -> None:
        self._terminal, self._progress = terminal, progress
        self._bar = TaskID(0)
        self._steps = self._first = 0
        self._began = time.monotonic()
        self._stage = ""

    def started(self, steps: int, done: int, workers: int, precision: str) -> None:
        """Open the bar."""
        where = f"goes on at step {done}" if done else "starts"
        self._terminal.say(f"run {where}: {steps} steps, {workers} worker(s), {precision}")
        self._steps, self._first, self._began = steps, done, time.monotonic()
        count = f"{done} of {steps}"
        self._bar = self._progress.add_task("", total=steps, completed=done, count=count, rate="")

    def stepped(self, step: int) -> None:
        """Move the bar."""
        count = f"{step} of {self._steps}"
        self._progress.update(self._bar, completed=step, count=count)

    def logged(self, stage: str, line: dict[str, Any]) -> None:
        """Say how each task does, how fast the run is and how long it will take."""
        self._name_stage(stage, list(line["tasks"]))
        step, rate = line["step"], f"{line['real_tokens_per_second']:,.0f} tokens/s"
        self._progress.update(self._bar, description=stage, rate=rate)
        scores = "  ".join(f"{name} {_score(score)}" for name, score in line["tasks"].items())
        passed = time.monotonic() - self._began
        # Of the last steps; before there are two of them, of all.
        left = self._progress.tasks[self._bar].time_remaining
        if left is None:
            left = passed * (self._steps - step) / max(1, step - self._first)
        self._terminal.say(
            f"step {step} of {self._steps}  {times(passed, left)}  {rate}  total {line['loss']:.4f}"
            f"  {scores}"
        )

    def _name_stage(self, stage: str, heads: list[str]) -> None:
        """Say once in each stage what its total is made of."""
        if stage != self._stage:
            self._stage = stage
            self._terminal.say(
                f"stage {stage}: total weighs the losses of {', '.join(heads)}; compare it within "
                "the stage, over stages compare the losses of single heads"
            )

    def skipped(self, line: dict[str, Any]) -> None:
        """Name a step that changed nothing."""
        tasks = ", ".join(line["tasks"])
        where = f", groups {line['groups']}" if line["groups"] else ""
        self._terminal.say(
            f"step {line['step']} skipped for {tasks}{where}, gradient norm "
            f"{line['gradient_norm']}",
            "red",
        )

    def unwritten(self, problem: str) -> None:
        """Say what is not written."""
        self._terminal.say(problem, "red")

    def evaluated(self, stage: str, step: int, scores: dict[str, HeadScore]) -> None:
        """Show held-out scores."""
        self._terminal.show(score_table(f"held out, step {step}, stage {stage}", scores))

    def reallocated(self, before: int, line: dict[str, Any]) -> None:
        """Say what each worker takes over."""
        left = ", ".join(f"{task} {iterations:,.1f}" for task, iterations in line["left"].items())
        now = (
            f"{line['workers']} worker(s) in place of {before}, {line['rows_of_each_worker']} rows "
            "each"
        )
        self._terminal.say(f"{now}; left: {left}")

    def fell_back(self, step: int, damaged: list[str]) -> None:
        """Name each damaged checkpoint."""
        for problem in damaged:
            self._terminal.say(problem, "red")
        self._terminal.say(
            f"the run falls back to step {step}; what is damaged is kept as damaged-step-N"
        )

    def changed(self, settings: dict[str, tuple[Any, Any]]) -> None:
        """List the settings that are not those of the checkpoint."""
        listed = ", ".join(f"{key} {old} -> {new}" for key, (old, new) in settings.items())
        self._terminal.say(f"settings changed since the checkpoint: {listed}")

    def decided(self, stage: str, decision: Decision) -> None:
        """Say what each task gets now."""
        moved = (
            f"{task} {decision.left[task]:,.1f} -> {now:,}"
            for task, now in decision.revision.budgets.items()
        )
        self._terminal.say(
            f"feedback, step {decision.revision.step}, stage {stage}: {', '.join(moved)}"
        )

    def weighed(self, stage: str, step: int, weights: Mapping[str, float]) -> None:
        """Say what each loss weighs now."""
        listed = ", ".join(f"{name} {weight:.3f}" for name, weight in weights.items())
        self._terminal.say(f"loss weights, step {step}, stage {stage}: {listed}")

    def compared(self, stage: str, step: int, line: Mapping[str, Any]) -> None:
        """Say which tasks share their layers now."""
        groups: dict[str, list[str]] = {}
        for task, group in line["groups"].items():
            groups.setdefault(group, []).append(task)
        listed = "; ".join(f"{group}: {', '.join(tasks)}" for group, tasks in groups.items())
        self._terminal.say(f"sharing, step {step}, stage {stage}: {listed}")

    def stopped(self, step: int, reason: str) -> None:
        """Say why, and how to go on."""
        self._terminal.say(
            f"stopped at step {step} of {self._steps}: {reason}; the step is saved, and the same "
            "command resumes from there"
        )


def _score(score: HeadScore) -> str:
    accuracy = "" if score["accuracy"] is None else f" {score['accuracy']:.1%}"
    return f"{score['loss']:.3f}{accuracy}"


def report_tables(result: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the tables of what `verbs.pretrain.pretrain` returned."""
    title = f"{result['run']}: {result['steps']} steps"
    if result["heldout"]:
        yield score_table(title, result["heldout"])
    else:
        yield f"{title}; no held-out scores were measured since it was started"
    yield from retention_tables(result["retention"])


def train(settings: RunConfig, as_json: bool, more: Mapping[str, Any] | None = None) -> None:
    """Train a run before people's eyes and print what it reports, with more; exit with 130 if it
    was interrupted.
    """
    with progress_bar(console) as progress:
        result = pretrain(settings, RunView(console, progress))
    print_result(result | dict(more or {}), as_json, lambda: Group(*report_tables(result)))
    if result["interrupted"]:
        raise typer.Exit(STOPPED)
