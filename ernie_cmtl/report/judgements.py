"""Pages of what `finetune --output` and `compare --output` write."""

import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from pydantic import BaseModel

from ernie_cmtl.charts import Chart, Dot, dot_chart
from ernie_cmtl.comparison.figure import measure_charts
from ernie_cmtl.comparison.measures import RESULT, Estimate, Measure
from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.kept import KEPT, Kept
from ernie_cmtl.foreign_files import checked
from ernie_cmtl.report.parts import Page, Section, Table


class _Model(BaseModel):
    learning_rate: float
    seed: int
    steps: int
    loss: float
    dev: dict[str, float] = {}
    test: dict[str, float] = {}
    one_class: list[str] = []

    def scores(self) -> dict[tuple[str, str], float]:
        """Return (split, score) -> value."""
        splits = {"dev": self.dev, "test": self.test}
        return {
            (split, key): value for split, found in splits.items() for key, value in found.items()
        }


class _Result(BaseModel):
    metric: str
    split: str
    learning_rate: float
    mean: float
    std: float | None = None
    kind: str
    examples: dict[str, int]
    majority: dict[str, dict[str, float]] = {}
    runs: list[_Model]


class _Comparison(BaseModel):
    models: list[str]
    measures: list[Measure]


def judgement_page(folder: Path) -> Page | None:
    """Return the page of a folder that `finetune` or `compare` has written; None for any other.

    Raises:
        UserError: Its file is not as the verb writes it.
    """
    if (path := folder / KEPT).is_file():
        return _finetuning_page(checked(_read(path), Kept, str(path)))
    if (path := folder / RESULT).is_file():
        return _comparison_page(checked(_read(path), _Comparison, str(path)), folder.name)
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no mapping; write it anew with the verb")
    return found


def _finetuning_page(about: Kept) -> Page:
    result = checked(about.all_models, _Result, f"all_models of {KEPT}")
    kept = checked(about.kept, _Model, f"kept of {KEPT}")
    spread = "" if result.std is None else f" ± {result.std:.4f}"
    facts = [
        ("base model", about.base_model),
        ("kind", f"{result.kind}; labels {', '.join(about.labels) or 'none'}"),
        ("rows", ", ".join(f"{split} {count:,}" for split, count in result.examples.items())),
        ("result", f"{result.metric} on {result.split} {result.mean:.4f}{spread}"),
        ("kept", f"learning rate {kept.learning_rate:g}, seed {kept.seed}"),
    ]
    warnings = [
        f"learning rate {run.learning_rate:g}, seed {run.seed}: one answer to all rows of {split}"
        for run in result.runs
        for split in run.one_class
    ]
    if result.std is None:
        warnings.append("one seed: the score has no spread")
    recipe = about.recipe.model_dump(mode="json")
    settings = [[key, json.dumps(value, ensure_ascii=False)] for key, value in recipe.items()]
    sections = [
        Section("Scores", charts=_score_charts(result), tables=[_scores(result)]),
        Section("Models", tables=[_models(result)]),
        Section("Recipe", tables=[Table(["setting", "value"], settings)], is_open=False),
    ]
    return Page(f"{about.task}: {about.base_model}", facts, warnings, sections)


def _by_rate(result: _Result) -> dict[float, list[_Model]]:
    found: dict[float, list[_Model]] = {}
    for run in result.runs:
        found.setdefault(run.learning_rate, []).append(run)
    return found


def _score_charts(result: _Result) -> list[Chart]:
    """Return a chart for each score: mean and range of the seeds of each learning rate."""
    keys = dict.fromkeys(key for run in result.runs for key in run.scores())
    found = []
    for split, score in keys:
        dots = []
        for rate, runs in _by_rate(result).items():
            values = [run.scores()[split, score] for run in runs if (split, score) in run.scores()]
            if values:
                dots.append(Dot(f"rate {rate:g}", fmean(values), (min(values), max(values))))
        level = result.majority.get(split, {}).get(score)
        title = f"{score} on {split}: mean and range over seeds"
        found.append(dot_chart(f"{split}-{score}", title, dots, score, level))
    return [chart for chart in found if chart]


def _scores(result: _Result) -> Table:
    rates = _by_rate(result)
    rows = []
    for split, score in dict.fromkeys(key for run in result.runs for key in run.scores()):
        cells = []
        for runs in rates.values():
            values = [run.scores()[split, score] for run in runs if (split, score) in run.scores()]
            spread = f" ± {stdev(values):.4f}" if len(values) > 1 else ""
            cells.append(f"{fmean(values):.4f}{spread}" if values else "-")
        level = result.majority.get(split, {}).get(score)
        rows.append([split, score, "-" if level is None else f"{level:.4f}", *cells])
    names = [f"rate {rate:g}{' (chosen)' * (rate == result.learning_rate)}" for rate in rates]
    return Table(["split", "score", "majority", *names], rows, "Mean and deviation over seeds")


def _models(result: _Result) -> Table:
    columns = ["learning rate", "seed", "steps", "loss", "scores"]
    rows = [
        [
            f"{run.learning_rate:g}",
            f"{run.seed}",
            f"{run.steps:,}",
            f"{run.loss:.4f}",
            ", ".join(f"{split} {key} {value:.4f}" for (split, key), value in run.scores().items()),
        ]
        for run in result.runs
    ]
    return Table(columns, rows)


def _comparison_page(result: _Comparison, name: str) -> Page:
    rows = [
        [measure.name, model, f"{found.value:.4f}", _interval(found.interval), *_difference(found)]
        for measure in result.measures
        for model, found in measure.models.items()
    ]
    columns = ["measure", "model", "value", "95 % interval", "difference", "95 % interval"]
    facts = [("models", ", ".join(result.models)), ("compared with", result.models[0])]
    sections = [
        Section("Measures", charts=measure_charts(result.measures)),
        Section("Values", tables=[Table(columns, rows)]),
    ]
    return Page(name, facts, [], sections)


def _difference(found: Estimate) -> tuple[str, str]:
    value = "-" if found.difference is None else f"{found.difference:+.4f}"
    return value, _interval(found.difference_interval)


def _interval(found: tuple[float, float] | None) -> str:
    return "-" if found is None else f"{found[0]:.4f} to {found[1]:.4f}"
