"""The verb compare: several models, judged alike."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ernie_cmtl.atomic_files import new_file, write_text
from ernie_cmtl.comparison.figure import FORMATS, check_drawing, draw
from ernie_cmtl.comparison.measures import (
    RESULT,
    Measure,
    pairs_measure,
    recipe_measure,
    similarity_measures,
)
from ernie_cmtl.corpus.read.tables import read_rows
from ernie_cmtl.errors import UserError
from ernie_cmtl.evaluation.masked_lm import MaskedLanguageModel, load_masked_lm
from ernie_cmtl.evaluation.minimal_pairs import pair_hits, read_pairs
from ernie_cmtl.evaluation.similarity import pair_cosines, scored_pairs
from ernie_cmtl.export.folder import export_folder
from ernie_cmtl.finetuning.finetune import finetune
from ernie_cmtl.finetuning.sets.recipe import Recipe
from ernie_cmtl.verbs.finetune import as_pretrained

PICTURE = "comparison"
"""Name of the picture in the output folder, without the ending of its format."""
Report = Callable[[str, str, dict[str, Any] | None], None]
"""Is told of each model and measure that begins, and of each model that was fine-tuned."""


@dataclass(frozen=True)
class Judging:
    """What models are compared by."""

    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    """By name."""
    data: Path = Path()
    """What names of files in the recipes are relative to."""
    pairs: Path | None = None
    rest_of_word: bool = False
    """Mask with each token of a minimal pair those after it in its word."""
    sts: Path | None = None
    random: bool = False
    """Fine-tune an encoder of the size of the first model that has learned nothing, too."""


def compare(
    models: Sequence[str],
    judging: Judging,
    report: Report,
    output: Path | None = None,
    figure: Path | None = None,
) -> dict[str, Any]:
    """Judge models alike and return their values with differences from the first model.

    models: folders of runs, exports or kept models, or names; output: folder for the result and its
    picture; figure: file for the picture, `.svg` or `.png`.

    Raises:
        UserError: A model, file or setting is not accepted, fewer than two models are to be
            compared, or a picture is asked for and its libraries are not installed.
    """
    _check(models, judging)
    if output or figure:
        check_drawing(figure)
    with export_folder(output) if output else nullcontext() as folder:
        measures, details = _measured(models, judging, report)
        result = {
            "models": list(models),
            "measures": [measure.as_json() for measure in measures],
            "details": details,
        }
        if folder:
            write_text(folder / RESULT, json.dumps(result, ensure_ascii=False, indent=1))
            for ending in FORMATS:
                (folder / f"{PICTURE}.{ending}").write_bytes(draw(measures, ending))
        if figure:
            with new_file(figure) as stream:
                stream.write(draw(measures, figure.suffix.removeprefix(".").lower()))
    return result


def _check(models: Sequence[str], judging: Judging) -> None:
    if len(models) + judging.random < 2:
        raise UserError("compare needs two models or more, or one with --random")
    if twice := [model for model in models if models.count(model) > 1]:
        raise UserError(f"model {twice[0]!r} is named twice")
    if not (judging.recipes or judging.pairs or judging.sts):
        raise UserError("nothing to compare by: give --task RECIPE, --pairs FILE or --sts FILE")
    if judging.random and not judging.recipes:
        raise UserError("--random is fine-tuned by recipes: give --task RECIPE, or leave it out")


def _measured(
    models: Sequence[str], judging: Judging, report: Report
) -> tuple[list[Measure], dict[str, Any]]:
    """Return all measures, and what they were made of by measure and model."""
    pairs = read_pairs(judging.pairs) if judging.pairs else []
    rows = read_rows(judging.sts, None) if judging.sts else iter(())
    scored = scored_pairs(rows, judging.sts) if judging.sts else []
    measures: list[Measure] = []
    details: dict[str, Any] = {}
    with _opened(models) as names:
        hits, cosines = {}, {}
        for model, name in names.items() if pairs or scored else ():
            report(model, "minimal pairs and similarity", None)
            judged: MaskedLanguageModel = replace(load_masked_lm(name), name=model)
            if pairs:
                hits[model] = pair_hits(judged, pairs, judging.rest_of_word)
            if scored:
                cosines[model] = pair_cosines(judged, scored)
        if judging.pairs:
            measure, found = pairs_measure(judging.pairs.name, pairs, hits)
            measures.append(measure)
            details[measure.name] = found
        if judging.sts:
            similar, found = similarity_measures(judging.sts.name, scored, cosines)
            measures += similar
            details[f"similarity of {judging.sts.name}"] = found
        for task, recipe in judging.recipes.items():
            tuned = _fine_tuned(names, task, recipe, judging, report)
            measures.append(recipe_measure(task, tuned))
            details[task] = tuned
    return measures, details


def _fine_tuned(
    names: Mapping[str, str], task: str, recipe: Recipe, judging: Judging, report: Report
) -> dict[str, dict[str, Any]]:
    """Return what fine-tuning each model gave."""
    started = {model: (name, recipe) for model, name in names.items()}
    if judging.random:
        first, name = next(iter(names.items()))
        started[f"{first}, random"] = (name, recipe.model_copy(update={"init": "random"}))
    found = {}
    for model, (name, how) in started.items():
        report(model, task, None)

        def tell(run: dict[str, Any], model: str = model) -> None:
            report(model, task, run)

        found[model] = finetune(name, how, judging.data, tell)
    return found


@contextmanager
def _opened(models: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield model -> folder or name that transformers loads."""
    with ExitStack() as stack:
        yield {model: stack.enter_context(as_pretrained(model)) for model in models}
