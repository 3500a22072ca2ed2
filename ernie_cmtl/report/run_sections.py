"""Runs -> the sections of their page; several are drawn over one another."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, TypeVar

from ernie_cmtl.charts import (
    Chart,
    Marks,
    Series,
    area_chart,
    heat_map,
    line_chart,
    thinned,
)
from ernie_cmtl.report.alerts import alerts
from ernie_cmtl.report.parts import Page, Section, Table
from ernie_cmtl.report.runs import HeldoutLine, ReportedRun, Score, TrainLine
from ernie_cmtl.report.tables import (
    corpus_tables,
    decision_table,
    differing_settings,
    event_table,
    score_table,
    settings_table,
    skipped_table,
    stage_table,
)

Part = TypeVar("Part")


def run_page(
    runs: Sequence[ReportedRun],
    corpora: Mapping[str, Mapping[str, Any]],
    examples: Mapping[str, Sequence[tuple[str, str]]],
) -> Page:
    """Return the page of one or several runs.

    corpora: run -> summary of its corpus, where there is one; examples: task -> rows that show
    what it makes of a text.
    """
    named = len(runs) > 1
    warnings = [text for run in runs for text in alerts(run)]
    sections = [
        Section("Tasks and stages", tables=_of_each(runs, [stage_table])),
        Section("Held-out scores", tables=_of_each(runs, [score_table])),
        Section("Learning of each head", charts=_head_charts(runs)),
        Section(
            "Retention",
            ["Each head after every stage: what later stages keep, and what they lose."],
            _there(chart for run in runs for chart in _retention_charts(run, named)),
        ),
        Section("Shares", charts=_there(_shares(run, named) for run in runs)),
        Section("Speed", charts=_there(_speed(runs))),
        Section("Optimization", charts=_there(_optimization(runs))),
        Section("Decisions", tables=_of_each(runs, [decision_table])),
        Section("What happened", tables=_of_each(runs, [event_table, skipped_table])),
        Section(
            "Corpus",
            tables=[
                table for name in dict.fromkeys(corpora) for table in corpus_tables(corpora[name])
            ],
            is_open=False,
        ),
        Section(
            "Examples of each task",
            tables=[Table(["", ""], rows, task) for task, rows in examples.items()],
            is_open=False,
        ),
        Section(
            "Settings",
            tables=_there([differing_settings(runs)]) + _of_each(runs, [settings_table]),
            is_open=False,
        ),
    ]
    title = ", ".join(run.name for run in runs)
    return Page(title, _facts(runs), warnings, [s for s in sections if not s.is_empty])


def _there(parts: Iterable[Part | None]) -> list[Part]:
    return [part for part in parts if part is not None]


def _of_each(
    runs: Sequence[ReportedRun], tables: Sequence[Callable[[ReportedRun], Table | None]]
) -> list[Table]:
    """Return tables of each run; of several, each title names the run."""
    found = []
    for run in runs:
        for table in _there(make(run) for make in tables):
            title = f"{run.name}: {table.title.lower()}" if len(runs) > 1 else table.title
            found.append(replace(table, title=title))
    return found


def _facts(runs: Sequence[ReportedRun]) -> list[tuple[str, str]]:
    found = []
    for run in runs:
        encoder = run.config.encoder
        tokens = sum(run.ledger.tokens) if run.ledger else 0
        found.append(
            (
                run.name,
                f"step {run.steps:,} of {run.table.steps:,}; {tokens:,} tokens; "
                f"{len(run.table.tasks)} tasks in {len(run.table.stages)} stages; "
                f"{encoder.architecture} "
                f"{encoder.layers} x {encoder.hidden_size}; sharing {run.config.sharing.mode}; "
                f"seed {run.config.seed}",
            )
        )
    return found


def _borders(runs: Sequence[ReportedRun]) -> list[tuple[int, str]]:
    """Return where stages end, if that is the same in all runs."""
    tables = [list(zip(run.table.ends, run.table.stages, strict=True)) for run in runs]
    found = [[(end, stage.name) for end, stage in table[:-1]] for table in tables]
    return found[0] if all(other == found[0] for other in found) else []


def _head_charts(runs: Sequence[ReportedRun]) -> list[Chart]:
    lines: list[Sequence[HeldoutLine | TrainLine]] = []
    for run in runs:
        lines += [run.heldout, run.train]
    heads = dict.fromkeys(head for line in chain.from_iterable(lines) for head in line.tasks)
    return _there(
        chart
        for head in heads
        for chart in (_head(runs, head, "loss"), _head(runs, head, "accuracy"))
    )


def _head(runs: Sequence[ReportedRun], head: str, measure: str) -> Chart | None:
    series: list[Series] = []
    levels: dict[float, str] = {}
    for run in runs:
        prefix = f"{run.name}, " if len(runs) > 1 else ""
        for kind, lines in (("train", run.train), ("held out", run.heldout)):
            scores = [(line.step, line.tasks[head]) for line in lines if head in line.tasks]
            points = thinned((step, getattr(score, measure)) for step, score in scores)
            series.append(Series(prefix + kind, points, measured=kind == "held out"))
            if measure == "accuracy" and kind == "held out" and scores:
                levels |= _majority(scores[-1][1])
    marks = Marks(_borders(runs), list(levels.items()))
    is_accuracy = measure == "accuracy"
    name = f"{measure}-{head.replace('/', '-')}"
    return line_chart(name, f"{head}: {measure}", series, measure, marks, is_accuracy)


def _majority(score: Score) -> dict[float, str]:
    return {} if score.majority is None else {score.majority: "most frequent class"}


def _retention_charts(run: ReportedRun, named: bool) -> list[Chart | None]:
    matrix = run.retention["matrix"]
    columns = [row["stage"] for row in matrix]
    prefix, suffix = (f"{run.name}: ", f"-{run.name}") if named else ("", "")
    found = []
    for measure, title in (("accuracy", "accuracy"), ("loss", "loss")):
        values = {
            (head, row["stage"]): score[measure]
            for row in matrix
            for head, score in row["tasks"].items()
            if score[measure] is not None
        }
        heads = list(dict.fromkeys(head for head, _ in values))
        found.append(
            heat_map(
                f"retention-{measure}{suffix}",
                f"{prefix}{title} after each stage",
                heads,
                columns,
                values,
                percent=measure == "accuracy",
            )
        )
    return found


def _shares(run: ReportedRun, named: bool) -> Chart | None:
    """Return the part of the tokens that each task got between two lines of the log."""
    parts: dict[str, list[tuple[int, float]]] = {task: [] for task in run.table.tasks}
    before: Mapping[str, int] = {}
    for line in run.train:
        got = {task: line.consumed.get(task, 0) - before.get(task, 0) for task in parts}
        total = sum(got.values())
        for task, count in got.items():
            parts[task].append((line.step, count / total if total > 0 else 0.0))
        before = line.consumed
    series = [Series(task, thinned(points)) for task, points in parts.items() if points]
    title = f"{run.name}: tokens of each task" if named else "tokens of each task"
    name = f"shares-{run.name}" if named else "shares"
    return area_chart(name, title, series, Marks(_borders([run])))


def _speed(runs: Sequence[ReportedRun]) -> list[Chart | None]:
    return [
        _over_steps(
            runs, "speed", "real tokens a second", lambda line: line.real_tokens_per_second
        ),
        _over_steps(
            runs,
            "packing",
            "packing: part of the slots that hold tokens",
            lambda line: line.packing_efficiency,
            percent=True,
        ),
        _over_steps(
            runs,
            "waiting",
            "part of the time that training waits for data",
            lambda line: line.data_wait_share,
            percent=True,
        ),
    ]


def _optimization(runs: Sequence[ReportedRun]) -> list[Chart | None]:
    return [
        _over_steps(runs, "learning-rate", "learning rate", lambda line: line.learning_rate),
        _over_steps(runs, "gradient-norm", "gradient norm", lambda line: line.gradient_norm),
        _over_steps(runs, "distance", "distance of shared copies", lambda line: line.distance),
    ]


def _over_steps(
    runs: Sequence[ReportedRun],
    name: str,
    title: str,
    value: Callable[[TrainLine], float | None],
    percent: bool = False,
) -> Chart | None:
    series = [
        Series(run.name, thinned((line.step, value(line)) for line in run.train)) for run in runs
    ]
    unit = title.partition(":")[0] if len(title) < 40 else name
    return line_chart(name, title, series, unit, Marks(_borders(runs)), percent)
