"""The verb compare on the command line."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ernie_cmtl.cli.finetune import show_model
from ernie_cmtl.cli.shared import Json, PluginModules, add_plugins, print_result
from ernie_cmtl.cli.tables import Table
from ernie_cmtl.cli.terminal import console, styled
from ernie_cmtl.errors import UserError

EXAMPLE = (
    "Example: ernie-cmtl compare runs/quickstart/export --random --task "
    "configs/finetune/cola.yaml --data sets train.max_steps=5"
)
_SETTING = re.compile(r"[a-z_]+(\.[a-z_]+)*=.*", re.DOTALL)


def compare(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL... [KEY=VALUE...]",
            help="Runs, exports, kept models or transformers models, then recipe settings as "
            "key.sub=value. The first model is the baseline.",
            show_default=False,
        ),
    ],
    task: Annotated[
        list[Path] | None, typer.Option("--task", help="YAML file of a recipe; may be repeated.")
    ] = None,
    data: Annotated[Path, typer.Option("--data", help="Folder of the recipes' files.")] = Path(),
    pairs: Annotated[
        Path | None,
        typer.Option(
            "--pairs",
            "--minimal-pairs",
            help="JSONL file of good and bad sentences, or a folder of such files.",
        ),
    ] = None,
    rest_of_word: Annotated[
        bool,
        typer.Option("--rest-of-word", help="Mask each token together with the rest of its word."),
    ] = False,
    sts: Annotated[
        Path | None,
        typer.Option("--sts", help="TSV or JSONL file with sentence1, sentence2, score."),
    ] = None,
    random: Annotated[
        bool,
        typer.Option(
            "--random",
            help="Also compare with random weights, at the size of the first model.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Folder for the result as JSON and as a plot."),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="File for the plot, .svg or .png.")
    ] = None,
    plugin: PluginModules = None,
    as_json: Json = False,
) -> None:
    """Compare models by recipes, minimal pairs and similarity, with 95 % intervals."""
    from ernie_cmtl.finetuning.sets.recipe import Recipe
    from ernie_cmtl.settings import load
    from ernie_cmtl.verbs.compare import Judging
    from ernie_cmtl.verbs.compare import compare as judge

    add_plugins(plugin)
    settings = [word for word in words if _SETTING.fullmatch(word) and not Path(word).exists()]
    models = [word for word in words if word not in settings]
    if settings and not task:
        raise UserError(f"setting {settings[0]!r} is of a recipe: give --task RECIPE")
    names = [path.stem for path in task or ()]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"two recipes are called {twice[0]!r}; give them different file names")
    recipes = {path.stem: load(Recipe, path, settings) for path in task or ()}
    judging = Judging(recipes, data, pairs, rest_of_word, sts, random)
    result = judge(models, judging, _report, output, figure)
    places = {"output": output, "figure": figure}
    result |= {name: str(path) for name, path in places.items() if path}
    print_result(result, as_json, lambda: result_table(result))


def _report(model: str, measure: str, run: dict[str, Any] | None) -> None:
    if run is None:
        console.say(f"{model}: {measure}")
    else:
        show_model(console, run)


def result_table(result: Mapping[str, Any]) -> Table:
    """Return the values of every measure and model, and the differences from the first model."""
    first = result["models"][0]
    table = Table(
        "measure, model",
        "value (95 %)",
        f"difference from {first} (95 %)",
        "over",
        caption="* the interval of the difference excludes zero; one seed has no interval, and its "
        "difference may be chance",
    )
    for measure in result["measures"]:
        reference = measure["reference"]
        known = "" if reference is None else f"majority or chance {reference:.4f}"
        table.add_row(styled(measure["name"], "bold"), styled(known, "dim"), "", measure["count"])
        for model, found in measure["models"].items():
            value = _with_interval(f"{found['value']:.4f}", found["interval"], "{:.4f}")
            table.add_row(f"  {model}", value, _difference(found))
    return table


def _difference(found: Mapping[str, Any]) -> str:
    if found["difference"] is None:
        return "-"
    interval = found["difference_interval"]
    shown = _with_interval(f"{found['difference']:+.4f}", interval, "{:+.4f}")
    return f"{shown} *" if interval and (interval[0] > 0 or interval[1] < 0) else shown


def _with_interval(value: str, interval: list[float] | None, form: str) -> str:
    if interval is None:
        return value
    return f"{value} ({form.format(interval[0])} to {form.format(interval[1])})"
