"""CPU time of a step with learned and with rotary positions and with ModernBERT: all on the same
batches, in turn, in one process.

    python benchmarks/positions_speed.py --corpus corpora/bench_en [--turns 21] [--threads 1]

A step is 4,096 places of samples of 128 tokens; masking alone, AdamW, dropout 0, and the precision
that a run takes by itself. The figures are medians of the turns after three that are not counted.
"""

import argparse
import platform
import statistics
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch
import transformers

from ernie_cmtl.config import RunConfig
from ernie_cmtl.data.loader import load_steps
from ernie_cmtl.run.run import Run
from ernie_cmtl.training.distributed import Workers
from ernie_cmtl.training.trainer import Trainer

ENCODERS: dict[str, dict[str, Any]] = {
    "learned": {"positions": "learned"},
    "rotary": {"positions": "rotary"},
    "modernbert": {"architecture": "modernbert"},
    "modernbert, window of 32": {
        "architecture": "modernbert",
        "local_attention": 32,
        "global_every": 2,
    },
}
SIZES = {"2x128": (2, 128, 2), "4x256": (4, 256, 4)}
UNCOUNTED = 3


def run_of(corpus: Path, size: str, encoder_of: str, steps: int) -> Run:
    """Return a run of one size with one encoder."""
    layers, hidden, heads = SIZES[size]
    encoder: dict[str, Any] = {
        "layers": layers,
        "hidden_size": hidden,
        "attention_heads": heads,
        "dropout": 0.0,
        "maximum_positions": 128,
        **ENCODERS[encoder_of],
    }
    settings = {
        "run": "unused",
        "corpus": str(corpus),
        "stages": [{"name": "all", "budgets": {"knowledge_masking": steps}}],
        "tasks": {"knowledge_masking": {"masking": {"units": "token"}}},
        "data": {"row_length": 128, "rows": 32, "rows_per_group": 32},
        "encoder": encoder,
    }
    return Run(RunConfig.model_validate(settings))


def seconds(corpus: Path, size: str, turns: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each turn for each encoder."""
    steps = turns + UNCOUNTED
    runs = {name: run_of(corpus, size, name, steps) for name in ENCODERS}
    workers = Workers()
    trainers: dict[str, Trainer] = {
        name: run.new_trainer(run.new_model(), workers) for name, run in runs.items()
    }
    return paired_seconds(trainers, runs["learned"], steps)


def paired_seconds(trainers: dict[str, Trainer], run: Run, steps: int) -> dict[str, list[float]]:
    """Return the CPU seconds of the steps of a run for each trainer, all of them in turn on the
    same batches; the first three steps are not counted.
    """
    source = run.steps_from(run.first_ledger(), steps, 0, 1)
    found: dict[str, list[float]] = {name: [] for name in trainers}
    for number, data in enumerate(load_steps(source)):
        for name in sorted(trainers, reverse=bool(number % 2)):
            start = time.process_time()
            trainers[name].step(data)
            if number >= UNCOUNTED:
                found[name].append(time.process_time() - start)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=21)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{date.today()}, {platform.machine()}, {given.threads} thread(s), {versions}")
    print("\n| size | encoder | ms | beside learned, median of paired turns | quartiles |")
    print("|---|---|---:|---:|---|")
    for size in SIZES:
        found = seconds(given.corpus, size, given.turns)
        for name, own in found.items():
            ratios = [one / other for one, other in zip(own, found["learned"], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            milliseconds = 1000 * statistics.median(own)
            spread = f"{low:.2f} to {high:.2f}"
            print(f"| {size} | {name} | {milliseconds:.1f} | {middle:.2f} | {spread} |", flush=True)


if __name__ == "__main__":
    main()
