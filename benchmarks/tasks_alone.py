"""Train every task alone for a short run and compare it with the best cheap baseline, as a table of
Markdown.

    python benchmarks/tasks_alone.py --corpus corpora/en --output runs/alone [--steps 1000] [--tasks
    capitalization ...]

One run a task in the output folder; one that is finished is not trained again. The baselines are
those of `tasks check`; where the input shows a part of the label (`HeadSpec.shown_groups`) a row
for each group gives chance within it.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ernie_cmtl.config import RunConfig, TaskConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.evaluation.heldout import HeadScore
from ernie_cmtl.run.observer import Observer
from ernie_cmtl.run.open import open_run
from ernie_cmtl.task_registry import find_task, task_names
from ernie_cmtl.verbs.evaluate import evaluate_run
from ernie_cmtl.verbs.pretrain import pretrain
from ernie_cmtl.verbs.tasks_check import tasks_check


class Lines(Observer):
    """Prints how a run goes on."""

    def logged(self, stage: str, line: dict[str, Any]) -> None:
        losses = {name: round(score["loss"], 4) for name, score in line["tasks"].items()}
        print(
            line["step"],
            losses,
            f"{line['real_tokens_per_second']:,.0f} tokens/s",
            file=sys.stderr,
            flush=True,
        )


def config_of(task: str, folder: Path, given: argparse.Namespace) -> RunConfig:
    """Return the settings of a tiny encoder that learns one task."""
    encoder = {
        "layers": 2,
        "hidden_size": 128,
        "attention_heads": 2,
        "dropout": 0.0,
        "maximum_positions": 128,
    }
    return RunConfig.model_validate(
        {
            "run": folder,
            "corpus": given.corpus,
            "seed": given.seed,
            "stages": [{"name": "alone", "budgets": {task: given.steps}}],
            "data": {"row_length": 128, "rows": 32, "rows_per_group": 32},
            "encoder": encoder | ({"init_from": str(given.init_from)} if given.init_from else {}),
            "optimizer": {
                "learning_rate": given.learning_rate,
                "warmup_steps": 50,
                "schedule": "linear",
            },
            "training": {
                "log_every": 50,
                "checkpoints": {"every": 250},
                "heldout": {"samples": 4096},
                "trackers": [],
            },
        }
    )


def baseline_of(corpus: Corpus, task: str) -> dict[str, tuple[str, float, float]]:
    """Return of each head the name and result of its best cheap baseline, and chance."""
    found: dict[str, tuple[str, float, float]] = {}
    for leak in tasks_check(corpus, task, TaskConfig(), 128, 8000, 1)["leaks"]:
        if leak["head"] not in found or leak["accuracy"] > found[leak["head"]][1]:
            found[leak["head"]] = (leak["baseline"], leak["accuracy"], leak["chance"])
    return found


def explained(folder: Path, task: str, head: str, loss: float) -> float:
    """Return R2 of a regression head, whose loss is the mean squared error, on the held-out
    samples.
    """
    run, _, _ = open_run(folder)
    (stream,) = run.streams("heldout")
    made = [
        stream.example(number)
        for number in range(min(len(stream), run.config.training.heldout.samples))
    ]
    labels = np.concatenate(
        [example.targets[head].labels for example in made if example is not None]
    )
    return 1 - loss / float(labels.var())


def rows_of(task: str, folder: Path, corpus: Corpus) -> list[str]:
    """Return a row of the table for each head, and for each group that its input shows."""
    _, _, ledger = open_run(folder)
    scores: dict[str, HeadScore] = evaluate_run(folder, None)["heldout"]
    cheap, rows = baseline_of(corpus, task), []
    for name, score in scores.items():
        head = name.split("/")[1]
        baseline, best, chance = cheap[head]
        loss, accuracy = score["loss"], score["accuracy"]
        result = explained(folder, task, head, loss) if accuracy is None else accuracy
        margin = f"{100 * (result - best):+.1f}"
        cells = [
            task,
            f"{ledger.tokens[0] / 1e6:.1f}M",
            f"{score['labels']:,}",
            f"{loss:.3f}",
            f"{result:.1%}",
        ]
        rows.append(f"| {' | '.join(cells)} | {chance:.1%} | {best:.1%} {baseline} | {margin} |")
        for group, inner in score.get("given", {}).items():
            if inner["classes"] > 1:
                chance, within = 1 / inner["classes"], inner["accuracy"] or 0.0
                cells = [
                    f"- given {group}",
                    "",
                    f"{inner['labels']:,}",
                    f"{inner['loss']:.3f}",
                    f"{within:.1%}",
                ]
                rows.append(
                    f"| {' | '.join(cells)} | {chance:.1%} | | {100 * (within - chance):+.1f} |"
                )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=task_names())
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument(
        "--init-from", type=Path, help="an export to start from, in place of random weights"
    )
    given = parser.parse_args()
    corpus = Corpus(given.corpus)
    print(
        "| task | slot tokens | labels | loss | result | chance | best cheap baseline | points "
        "above it |"
    )
    print("|---|---:|---:|---:|---:|---:|---|---:|")
    for task in given.tasks:
        if corpus.language in find_task(task).languages:
            folder = given.output / task
            pretrain(config_of(task, folder, given), Lines())
            print("\n".join(rows_of(task, folder, corpus)), flush=True)


if __name__ == "__main__":
    main()
