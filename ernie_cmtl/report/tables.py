"""Tables of a page: stages, retention, events, decisions, corpus, settings."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ernie_cmtl.report.parts import Table
from ernie_cmtl.report.runs import OtherLine, ReportedRun
from ernie_cmtl.settings import differences

_MOST_EVENTS = 200
"""Rows of a table of events; a run that skips every step must not make a page of them."""


def stage_table(run: ReportedRun) -> Table:
    """Return what the stage table gives each task, and what the task has received."""
    stages = run.table.stages
    received: dict[str, tuple[float, int]] = {}
    if run.ledger:
        counts = zip(run.ledger.iterations, run.ledger.tokens, strict=True)
        received = dict(zip(run.table.tasks, counts, strict=False))
    rows = []
    for task in run.table.tasks:
        planned = [stage.budgets.get(task, 0) for stage in stages]
        iterations, tokens = received.get(task, (None, None))
        rows.append(
            [
                task,
                *(f"{budget:,}" if budget else "-" for budget in planned),
                f"{sum(planned):,}",
                "?" if iterations is None else f"{iterations:,.0f}",
                "?" if tokens is None else f"{tokens:,}",
            ]
        )
    steps = ["steps", *(f"{stage.steps:,}" for stage in stages), f"{run.table.steps:,}"]
    at = f"received at step {run.ledger.step:,}" if run.ledger else "received"
    names = [f"S{number} {stage.name}" for number, stage in enumerate(stages, 1)]
    return Table(["task", *names, "planned", at, "tokens"], [*rows, [*steps, "", ""]], "Iterations")


def score_table(run: ReportedRun) -> Table | None:
    """Return the newest held-out score of each head, with what was forgotten and transferred."""
    if not run.heldout:
        return None
    newest, measures = run.heldout[-1], run.retention["heads"]["accuracy"]
    rows = []
    for head, score in newest.tasks.items():
        found = measures.get(head, {})
        interval = score.interval
        rows.append(
            [
                head,
                f"{score.loss:.4f}",
                _percent(score.accuracy),
                f"{interval[0]:.1%} to {interval[1]:.1%}" if interval else "-",
                _percent(score.majority),
                *(
                    _percent(found.get(name))
                    for name in ("forgetting", "backward_transfer", "forward_transfer")
                ),
                f"{score.labels:,}",
            ]
        )
    columns = [
        "head",
        "loss",
        "accuracy",
        "95 % interval",
        "majority",
        "forgetting",
        "backward transfer",
        "forward transfer",
        "labels",
    ]
    return Table(columns, rows, f"Held out, at step {newest.step:,}")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def event_table(run: ReportedRun) -> Table | None:
    """Return what happened to a run: starts, changes of workers and settings, damage."""
    rows = [
        [f"{line.step:,}", _when(line.time), line.kind, _said(line)]
        for line in run.events
        if line.kind in {"started", "workers", "settings", "damaged"}
    ]
    return _long_table(["step", "time (UTC)", "event", "details"], rows, "Starts and changes")


def skipped_table(run: ReportedRun) -> Table | None:
    """Return the steps that were skipped, with the documents that they were made of."""
    rows = [
        [
            f"{line.step:,}",
            ", ".join(map(str, line.get("tasks") or [])),
            "not finite" if line.get("gradient_norm") is None else f"{line.get('gradient_norm')}",
            _said(line, {"tasks", "gradient_norm"}),
        ]
        for line in run.events_of("skipped")
    ]
    return _long_table(["step", "tasks", "gradient norm", "batch"], rows, "Skipped steps")


def decision_table(run: ReportedRun) -> Table | None:
    """Return what the run decided by what it measured: budgets, loss weights, shared layers."""
    kinds = {"feedback": "budgets", "loss_weighting": "loss weights", "sharing": "shared layers"}
    rows = [
        [f"{line.step:,}", line.stage, kinds[line.kind], _said(line)]
        for line in run.events
        if line.kind in kinds
    ]
    return _long_table(["step", "stage", "of", "decision"], rows, "Decisions")


def _long_table(columns: Sequence[str], rows: list[list[str]], title: str) -> Table | None:
    if not rows:
        return None
    more = len(rows) - _MOST_EVENTS
    if more > 0:
        rows = [*rows[:_MOST_EVENTS], [f"{more:,} more", *[""] * (len(columns) - 1)]]
    return Table(columns, rows, title)


def _when(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "?"


def _said(line: OtherLine, without: set[str] | None = None) -> str:
    found = {
        name: value
        for name, value in (line.model_extra or {}).items()
        if name not in (without or set())
    }
    text = json.dumps(_short(found), ensure_ascii=False)[1:-1]
    return text if len(text) <= 600 else text[:600] + " ..."


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: _short(inner) for name, inner in value.items()}
    return [_short(inner) for inner in value] if isinstance(value, list) else value


def corpus_tables(found: Mapping[str, Any]) -> list[Table]:
    """Return what `prepare` counted, source by source; found: its summary of the corpus."""
    documents = [f"{name} {count:,}" for name, count in found["documents"].items()]
    rejected = [f"{reason} {count:,}" for reason, count in found["rejections"].items()]
    facts = [
        ["documents", ", ".join(documents)],
        ["rejected", ", ".join(rejected) or "none"],
        *([name.replace("_", " "), f"{found[name]:,}"] for name in ("sentences", "tokens")),
        ["vocabulary size", f"{found['vocabulary_size']:,}"],
        ["layers", ", ".join(found["layers"])],
        ["fingerprint", str(found["fingerprint"])],
    ]
    sources = [
        [
            name,
            f"{source['documents']:,}",
            f"{source['tokens']:,}",
            "-" if source["unknown_rate"] is None else f"{source['unknown_rate']:.2%}",
            ", ".join(f"{script} {share:.1%}" for script, share in source["scripts"].items()),
            _percent(source["mixture"]),
        ]
        for name, source in found["sources"].items()
    ]
    columns = ["source", "documents", "tokens", "unknown", "scripts", "mixture"]
    return [Table(["", ""], facts), Table(columns, sources, "Sources")]


def settings_table(run: ReportedRun) -> Table:
    """Return every setting of a run."""
    return Table(
        ["setting", "value"],
        list(_flat(run.config.model_dump(mode="json")).items()),
        "All settings",
    )


def differing_settings(runs: Sequence[ReportedRun]) -> Table | None:
    """Return the settings in which runs differ."""
    dumped = [run.config.model_dump(mode="json") for run in runs]
    keys = dict.fromkeys(key for other in dumped[1:] for key in differences(dumped[0], other))
    flat = [_flat(settings) for settings in dumped]
    rows = [
        [key, *(_under(found, key) for found in flat)]
        for key in keys
        if key not in {"run", "corpus"}
    ]
    names = [run.name for run in runs]
    return Table(["setting", *names], rows, "Settings that differ") if rows else None


def _under(found: Mapping[str, str], key: str) -> str:
    if key in found:
        return found[key]
    inner = {name: value for name, value in found.items() if name.startswith(f"{key}.")}
    return ", ".join(f"{name[len(key) + 1 :]} {value}" for name, value in inner.items()) or "-"


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        found: dict[str, str] = {}
        for name, inner in value.items():
            found |= _flat(inner, f"{prefix}.{name}" if prefix else str(name))
        return found
    if isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        return _flat({str(number): inner for number, inner in enumerate(value, 1)}, prefix)
    return {prefix: json.dumps(value, ensure_ascii=False)}
