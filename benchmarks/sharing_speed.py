"""CPU time of a step in each sharing mode beside hard sharing: all on the same batches, in turn, in
one process.

    python benchmarks/sharing_speed.py --corpus corpora/bench_en [--turns 15] [--threads 1]

A step is 4,096 places of samples of 128 tokens, of three tasks of three families at once; 4x256,
rotary positions, AdamW, dropout 0, and the default precision. Ratios are medians
of paired turns, after three that are not counted.
"""

import argparse
import platform
import statistics
from datetime import date
from pathlib import Path
from typing import Any

import torch
import transformers
from positions_speed import UNCOUNTED, paired_seconds

from ernie_cmtl.config import RunConfig
from ernie_cmtl.run.run import Run
from ernie_cmtl.training.distributed import Workers

TASKS = ("knowledge_masking", "sentence_reordering", "ir_relevance")
MODES: dict[str, dict[str, Any]] = {
    "hard": {"mode": "hard"},
    "partial, family, 2 layers": {"mode": "partial", "layers": 2},
    "partial, task, rank 8": {"mode": "partial", "groups": "task", "rank": 8},
    "soft, all layers": {"mode": "soft", "strength": 0.01},
    "hierarchical": {"mode": "hierarchical"},
    "hierarchical, fed": {
        "mode": "hierarchical",
        "levels": {"sentence_reordering": 3},
        "feed": True,
    },
}


def run_of(corpus: Path, sharing: dict[str, Any], steps: int) -> Run:
    """Return a run in one mode."""
    settings = {
        "run": "unused",
        "corpus": str(corpus),
        "stages": [{"name": "all", "budgets": dict.fromkeys(TASKS, steps)}],
        "data": {"row_length": 512, "maximum_length": 128, "rows": 8, "rows_per_group": 8},
        "encoder": {
            "layers": 4,
            "hidden_size": 256,
            "attention_heads": 4,
            "dropout": 0.0,
            "maximum_positions": 128,
            "positions": "rotary",
        },
        "sharing": sharing,
    }
    return Run(RunConfig.model_validate(settings))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    steps = given.turns + UNCOUNTED
    runs = {name: run_of(given.corpus, sharing, steps) for name, sharing in MODES.items()}
    workers = Workers()
    trainers = {name: run.new_trainer(run.new_model(), workers) for name, run in runs.items()}
    found = paired_seconds(trainers, runs["hard"], steps)
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{date.today()}, {platform.machine()}, {given.threads} thread(s), {versions}\n")
    print("| sharing | parameters | ms | ratio of paired turns | quartiles |")
    print("|---|---:|---:|---:|---|")
    for name, seconds in found.items():
        ratios = [own / hard for own, hard in zip(seconds, found["hard"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        count = sum(parameter.numel() for parameter in trainers[name].model.parameters())
        print(
            f"| {name} | {count / 1e6:.1f}M | {1000 * statistics.median(seconds):.1f} | "
            f"{middle:.2f} | {low:.2f} to {high:.2f} |"
        )


if __name__ == "__main__":
    main()
