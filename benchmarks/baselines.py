"""What the cheapest guess scores on the held-out examples of a run, beside what the run scores.

    python benchmarks/baselines.py runs/mine

Masked tokens: the training split's unigram distribution. Token and sequence classes: the majority
class and the entropy of the held-out labels. Where the input shows part of the label
(`HeadSpec.shown_groups`): chance within each group.
"""

import argparse
from collections import Counter
from math import log
from pathlib import Path

import numpy as np

from ernie_cmtl.data.loader import fixed_batches
from ernie_cmtl.records import MASKED_TOKEN
from ernie_cmtl.run.open import open_run
from ernie_cmtl.run.run import Run
from ernie_cmtl.verbs.evaluate import evaluate_run


def labels_of(run: Run, task: int, name: str) -> np.ndarray:
    """Return the held-out labels of a head."""
    stream = run.streams("heldout")[task]
    pad_id, config = run.corpus.vocabulary.pad_id, run.config
    batches = fixed_batches(stream, config.training.heldout.samples, config.data, pad_id)
    return np.concatenate(
        [batch.targets[name].labels for _, batch in batches if batch.targets[name].tasks[0] >= 0]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    folder = parser.parse_args().run
    run, _, ledger = open_run(folder)
    frequencies = run.corpus.token_frequencies()
    scores = evaluate_run(folder, None)["heldout"]
    print(
        f"step {ledger.step}, slot tokens {dict(zip(run.table.tasks, ledger.tokens, strict=True))}"
    )
    print(
        "| head | labels | loss | cheapest loss | accuracy | cheapest accuracy "
        "|\n|---|---|---|---|---|---|"
    )
    for task, instance in enumerate(run.instances):
        for name, spec in instance.heads.items():
            labels = labels_of(run, task, name)
            counts = Counter(labels.tolist())
            majority = max(counts.values()) / len(labels)
            if name == MASKED_TOKEN:
                cheapest = -float(np.log(frequencies[labels]).mean())
            else:
                cheapest = -sum(n / len(labels) * log(n / len(labels)) for n in counts.values())
            score = scores[f"{instance.name}/{spec.name}"]
            row = (
                f"{score['loss']:.3f}",
                f"{cheapest:.3f}",
                f"{score['accuracy']:.2%}",
                f"{majority:.2%}",
            )
            print(f"| {instance.name}/{spec.name} | {len(labels)} | " + " | ".join(row) + " |")
            for group, inner in score.get("given", {}).items():
                row = (
                    f"{inner['loss']:.3f}",
                    f"{log(inner['classes']):.3f}",
                    f"{inner['accuracy']:.2%}",
                    f"{1 / inner['classes']:.2%}",
                )
                print(f"| given {group} | {inner['labels']} | " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
