"""The results of a suite as a table: mean and spread over seeds, and paired differences from a
baseline.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ernie_cmtl.atomic_files import new_file
from ernie_cmtl.errors import UserError
from ernie_cmtl.evaluation.intervals import Difference, paired_difference

# Before cells are trained for hours.
if find_spec("scipy") is None:
    raise SystemExit("error: comparing runs needs scipy: pip install 'ernie-cmtl[compare]'")

Values = dict[str, dict[int, float]]
"""Cell -> seed -> value of one metric."""


def metrics_of(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of one finished cell by the names of the table."""
    found: dict[str, float] = {}
    for view, words in result["asked"]["heldout"].items():
        # What a view does not name was answered on examples of the cell's own.
        named = {word.split(".")[1] for word in words}
        for name, score in result["heldout"][view]["heldout"].items():
            if name.split("/")[0] in named:
                found |= _head_scores(f"{name}, {view}", score)
    for file, pairs in result["minimal_pairs"].items():
        found[f"minimal pairs of {file}: accuracy"] = pairs["minimal_pairs"]["accuracy"]
    for recipe, scores in result["downstream"].items():
        found[f"{recipe}: {scores['metric']}"] = scores["mean"]
    return found


def _head_scores(name: str, score: Mapping[str, Any]) -> dict[str, float]:
    found = _scores(name, score)
    for group, inner in score.get("given", {}).items():
        if inner["classes"] > 1:
            found |= _scores(f"{name}, given {group}", inner)
    return found


def _scores(name: str, score: Mapping[str, Any]) -> dict[str, float]:
    return {
        f"{name}: {metric}": score[metric]
        for metric in ("loss", "accuracy")
        if score[metric] is not None
    }


def collect(results: Sequence[Mapping[str, Any]]) -> dict[str, Values]:
    """Return metric -> cell -> seed -> value."""
    found: dict[str, Values] = {}
    for result in results:
        for metric, value in metrics_of(result).items():
            found.setdefault(metric, {}).setdefault(result["cell"], {})[result["seed"]] = value
    return found


def markdown(title: str, results: Sequence[Mapping[str, Any]], baseline: str) -> str:
    """Return the tables of a suite."""
    cells = list(dict.fromkeys(result["cell"] for result in results))
    seeds = {cell: sum(result["cell"] == cell for result in results) for cell in cells}
    values = collect(results)
    tokens = {
        cell: fmean(sum(r["training"]["consumed"].values()) for r in results if r["cell"] == cell)
        for cell in cells
    }
    single = (
        " One seed has no spread and no interval: a difference may be chance."
        if min(seeds.values()) == 1
        else ""
    )
    lines = [f"# {title}", "", f"Mean ± standard deviation over seeds.{single}", ""]
    lines += _table(
        "",
        cells,
        {metric: [_mean(rows.get(cell)) for cell in cells] for metric, rows in values.items()},
    )
    lines += [f"| tokens, millions | {' | '.join(f'{tokens[cell] / 1e6:.2f}' for cell in cells)} |"]
    lines += [f"| seeds | {' | '.join(str(seeds[cell]) for cell in cells)} |", ""]
    others = [cell for cell in cells if cell != baseline]
    rows = {
        metric: [
            _difference(paired_difference(of.get(cell, {}), of.get(baseline, {})))
            for cell in others
        ]
        for metric, of in values.items()
    }
    lines += [
        f"Difference from `{baseline}`, paired by seed, with its 95 % interval (Student's t); * "
        "where it excludes zero.",
        "",
    ]
    return "\n".join([*lines, *_table("", others, rows), ""])


def _table(corner: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> list[str]:
    head = [f"| {corner} | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    return [*head, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())]


def _mean(values: Mapping[int, float] | None) -> str:
    if not values:
        return "-"
    numbers = list(values.values())
    return f"{fmean(numbers):.4f}" + (f" ± {stdev(numbers):.4f}" if len(numbers) > 1 else "")


def _difference(found: Difference | None) -> str:
    if found is None:
        return "-"
    mean, interval = found
    if interval is None:
        return f"{mean:+.4f} (n = 1)"
    low, high = interval
    return f"{mean:+.4f} ({low:+.4f} to {high:+.4f}){' *' if low > 0 or high < 0 else ''}"


def plot(results: Sequence[Mapping[str, Any]], baseline: str, path: Path) -> None:
    """Draw the paired differences of every metric and cell, with their intervals.

    Raises:
        UserError: Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("--plot needs matplotlib: pip install 'ernie-cmtl[compare]'") from error
    values = {
        metric: of for metric, of in collect(results).items() if baseline in of and len(of) > 1
    }
    figure = Figure(figsize=(8, 1 + 1.5 * len(values)), layout="constrained")
    for number, (metric, of) in enumerate(values.items(), 1):
        axes = figure.add_subplot(len(values), 1, number)
        axes.axvline(0, color="grey", linewidth=0.8)
        axes.set_title(metric, fontsize=9, loc="left")
        others = [cell for cell in of if cell != baseline]
        for place, cell in enumerate(others):
            if found := paired_difference(of[cell], of[baseline]):
                mean, interval = found
                low, high = interval or (mean, mean)
                axes.errorbar(
                    [mean],
                    [place],
                    xerr=[[mean - low], [high - mean]],
                    fmt="o",
                    color="black",
                    capsize=3,
                )
        axes.set_yticks(range(len(others)), others, fontsize=8)
        axes.invert_yaxis()
    with new_file(path) as stream:
        figure.savefig(stream, format=path.suffix.removeprefix(".") or "png")
