"""A recipe carried out: every learning rate with every seed, the best rate chosen on dev, scores
with their spread.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from transformers.utils import logging

from ernie_cmtl.finetuning.keeping import BestModel, Judged
from ernie_cmtl.finetuning.kept import Kept, check_kept, write_kept
from ernie_cmtl.finetuning.kinds import KINDS
from ernie_cmtl.finetuning.models import load_config, load_tokenizer, longest_input, new_model
from ernie_cmtl.finetuning.prepared import Prepared
from ernie_cmtl.finetuning.sets.recipe import Recipe
from ernie_cmtl.finetuning.sets.rows import read_splits
from ernie_cmtl.finetuning.sets.scores import check_libraries
from ernie_cmtl.finetuning.task_views import choose_task
from ernie_cmtl.finetuning.training import diverged, predict, train

Report = Callable[[dict[str, Any]], None]
"""What is told of each model that was trained and judged."""


@dataclass(frozen=True)
class Keep:
    """Where the best model is kept, and what its card calls what it came from."""

    folder: Path
    """Empty; the model is written into it."""
    name: str
    """Of the model that is kept."""
    base: str
    """Folder or name of the model that was fine-tuned, as the user gave it."""
    task: str
    """Name of the recipe."""


def finetune(
    model: str, recipe: Recipe, folder: Path, report: Report, keep: Keep | None = None
) -> dict[str, Any]:
    """Fine-tune a model by a recipe and return its scores.

    model: folder or name of a model of transformers; folder: what names of files in the recipe are
    relative to; keep: where the best model is kept. It is the one of the chosen learning rate with
    the best score on dev, or without dev the one of the first seed. The result then has the key
    `kept`.

    Raises:
        UserError: The model, a row or a setting is not accepted.
        RuntimeError: The kept model, loaded again, does not give what the trained one gave.
    """
    check_libraries()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    task = prepare(model, recipe, folder)
    best = BestModel(keep.folder, task.kind.metric) if keep else None
    runs = []
    for rate in recipe.train.learning_rates:
        for seed in recipe.train.seeds:
            runs.append(_trained(task, rate, seed, best))
            report(runs[-1])
        if best:
            best.end_rate()
    result = _result(task, runs)
    if keep and best:
        result["kept"] = _kept(task, result, keep, best)
    return result


def _trained(task: Prepared, rate: float, seed: int, best: BestModel | None) -> dict[str, Any]:
    """Train and judge a model and return its scores; it is freed before the next one is made."""
    judged = train_and_judge(task, rate, seed)
    if best:
        best.offer(judged)
    return judged.run


def _result(task: Prepared, runs: list[dict[str, Any]]) -> dict[str, Any]:
    recipe = task.recipe
    metric, split = task.kind.metric, "test" if "test" in task.examples else "dev"
    rate = best_rate(runs, metric)
    scores = [run[split][metric] for run in runs if run["learning_rate"] == rate]
    return {
        "metric": metric,
        "mean": mean(scores),
        "std": spread(scores),
        "scores": scores,
        "split": split,
        "learning_rate": rate,
        "kind": recipe.kind,
        "init": recipe.init,
        "task_row": runs[-1]["task_row"],
        "labels": list(task.kind.labels),
        "maximum_length": task.length,
        "examples": {name: len(found) for name, found in task.examples.items()},
        "majority": {
            name: task.kind.majority_scores(found)
            for name, found in task.examples.items()
            if name != "train"
        },
        "runs": runs,
    }


def _kept(task: Prepared, result: dict[str, Any], keep: Keep, best: BestModel) -> dict[str, Any]:
    """Complete the folder of the best model, and return what is said of it."""
    chosen = best.finish()
    about = Kept(
        task=keep.task,
        base_model=keep.base,
        labels=task.kind.labels,
        maximum_length=task.length,
        kept=chosen.run,
        all_models=result,
        recipe=task.recipe,
    )
    write_kept(keep.folder, keep.name, about, load_tokenizer(task.model))
    difference = check_kept(keep.folder, task, chosen)
    return chosen.run | {"max_abs_logit_difference": difference}


def prepare(model: str, recipe: Recipe, folder: Path) -> Prepared:
    """Read, check and tokenize what a recipe names.

    Raises:
        UserError: The model, a row or a setting is not accepted.
    """
    rows = read_splits(recipe.data, recipe.columns, folder)
    kind = KINDS[recipe.kind](recipe, rows["train"])
    examples = {
        name: _at_even_distances(kind.examples(found), recipe.data.limit)
        for name, found in rows.items()
    }
    tokenizer = load_tokenizer(model)
    length = longest_input(recipe, tokenizer, load_config(model, kind))
    encoded = {
        name: kind.encode(found, tokenizer, length, name == "train")
        for name, found in examples.items()
    }
    return Prepared(model, recipe, kind, tokenizer, length, examples, encoded)


def train_and_judge(task: Prepared, rate: float, seed: int) -> Judged:
    """Train one model and judge it on every split but that of training.

    Raises:
        UserError: The training diverged.
    """
    made = new_model(task.model, task.kind, task.recipe, seed)
    row = choose_task(made, task.model, task.recipe)
    trained = train(
        made, task.tokenizer, task.kind, task.encoded["train"].inputs, task.recipe.train, rate, seed
    )
    collate = task.kind.collator(task.tokenizer)
    judged, outputs, one_class = {}, {}, []
    for name, found in task.examples.items():
        if name != "train":
            encoded = task.encoded[name]
            predicted = predict(made, collate, encoded.inputs)
            if not all(np.isfinite(values).all() for values in predicted):
                problem = f"what the model gives on {name} is not finite"
                raise diverged(rate, seed, trained["steps"], problem)
            judged[name] = task.kind.scores(found, encoded, predicted)
            outputs[name] = predicted
            if task.kind.answers_one_class(encoded, predicted):
                one_class.append(name)
    about = {"learning_rate": rate, "seed": seed, "task_row": row}
    return Judged(made, about | trained | judged | {"one_class": one_class}, outputs)


def best_rate(runs: Sequence[dict[str, Any]], metric: str) -> float:
    """Return the learning rate with the highest mean on dev, the earlier one of two that are equal;
    a single one needs no dev.
    """
    rates = list(dict.fromkeys(float(run["learning_rate"]) for run in runs))
    if len(rates) == 1:
        return rates[0]
    return max(
        rates,
        key=lambda rate: mean(run["dev"][metric] for run in runs if run["learning_rate"] == rate),
    )


def spread(scores: Sequence[float]) -> float | None:
    """Return the sample standard deviation; None for a single score, which says nothing of it."""
    return stdev(scores) if len(scores) > 1 else None


def _at_even_distances(examples: list[Any], limit: int | None) -> list[Any]:
    if limit is None or limit >= len(examples):
        return examples
    return [examples[place * len(examples) // limit] for place in range(limit)]
