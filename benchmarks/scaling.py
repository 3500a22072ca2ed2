"""Real tokens a second with 1, 2 and 4 workers that share one machine's cores (gloo), and what
adding up the gradients costs.

    python benchmarks/scaling.py --corpus corpora/bench_en [--workers 1 2 4] [--steps 10] [--rounds
    3]

Every worker has one thread. The step is the same for all numbers of workers: 8 rows of 512 in four
groups, a 4x256 encoder. On a machine with fewer cores than workers the ideal is that of its cores.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

from ernie_cmtl.parent_process import ends_with_this_process

ROOT = Path(__file__).parents[1]


def measure(given: argparse.Namespace, workers: int) -> dict[str, Any]:
    """Run the verb bench once and return what it reports."""
    launch = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(workers)]
        if workers > 1
        else []
    )
    what = [
        "launch.py",
        "bench",
        given.config,
        "--corpus",
        str(given.corpus),
        "data.rows_per_group=2",
    ]
    words = [*launch, *what, "--steps", str(given.steps), "--warmup", "2", "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment |= ends_with_this_process()
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(
        next(line for line in done.stdout.splitlines() if line.startswith("{"))
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--config", default="configs/bench/cpu_mlm.yaml")
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    given.corpus = given.corpus.resolve()
    import torch

    cores = len(os.sched_getaffinity(0))
    print(
        f"{date.today()}, {platform.machine()}, {cores} cores, one thread a worker, torch "
        f"{torch.__version__}\n"
    )
    found: dict[int, list[dict[str, Any]]] = {workers: [] for workers in given.workers}
    for _ in range(given.rounds):
        for workers, results in found.items():
            results.append(measure(given, workers))
    print(
        "| workers | real tokens/s | rounds | times the first | part of the ideal | communication |"
    )
    print("|---:|---:|---|---:|---:|---:|")
    first = given.workers[0]
    base = statistics.median(result["real_tokens_per_second"] for result in found[first])
    for workers, results in found.items():
        rates = [result["real_tokens_per_second"] for result in results]
        rate = statistics.median(rates)
        ideal = min(workers, cores) / min(first, cores)
        shares = [
            result["step_seconds"]["communication"] / result["step_seconds"]["total"]
            for result in results
        ]
        rounds = ", ".join(f"{value:,.0f}" for value in rates)
        cells = (
            f"{rate:,.0f}",
            rounds,
            f"{rate / base:.2f}",
            f"{rate / base / ideal:.0%}",
            f"{statistics.median(shares):.1%}",
        )
        print(f"| {workers} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
