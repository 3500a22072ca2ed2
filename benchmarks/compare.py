"""Train the cells of a suite with several seeds on equal tokens, judge each alike, and print a
table of Markdown.

    python benchmarks/compare.py benchmarks/suites/methods.yaml --corpus corpora/tiny_en --output
    runs/methods --seeds 1 2 3

Every cell goes through the commands that a user has. What it gave is kept as a file in
OUTPUT/results and not made again; a run that was broken off resumes from its checkpoint. --recipes
are fine-tuned with the verb finetune. Needs the extra `compare`.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comparison import markdown, plot
from omegaconf import OmegaConf
from suite import Cell, load_scale, load_suite, make_cell

from ernie_cmtl.atomic_files import write_text
from ernie_cmtl.errors import UserError
from ernie_cmtl.parent_process import ends_with_this_process
from ernie_cmtl.sole_writer import sole_writer

ROOT = Path(__file__).parents[1]


def verb(threads: int | None, *words: str | Path) -> Any:
    """Run a verb and return its JSON; what it says while it works goes to standard error.

    Raises:
        UserError: It failed; it has said why.
    """
    given = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    environment = os.environ | ends_with_this_process() | given
    command = [sys.executable, str(ROOT / "launch.py"), *map(str, words), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    if done.returncode:
        raise UserError(
            f"{' '.join(map(str, words))} ended with {done.returncode}; the same call goes on "
            "from there"
        )
    return json.loads(done.stdout)


def run_cell(cell: Cell, output: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Train and judge a cell, as far as an earlier call has not done so.

    Raises:
        UserError: A verb failed, or the result that is there was made with other settings.
    """
    kept, run = output / "results" / f"{cell.label}.json", cell.settings["run"]
    asked = {"settings": cell.settings, "heldout": dict(cell.heldout), "finetune": cell.finetune}
    result: dict[str, Any] = {"cell": cell.name, "seed": cell.seed, "asked": asked}
    result |= {"training": None, "heldout": {}, "minimal_pairs": {}, "downstream": {}}
    if kept.is_file():
        result = json.loads(kept.read_text(encoding="utf-8"))
    if result["asked"] != asked:
        raise UserError(
            f"{kept} was made with other settings; choose another --output or remove it"
        )

    def fill(part: dict[str, Any], key: str, *words: str | Path) -> None:
        if not part.get(key):
            print(f"--- {cell.label}: {words[0]} {key}", file=sys.stderr, flush=True)
            part[key] = verb(given.threads, *words)
            write_text(kept, json.dumps(result, ensure_ascii=False, indent=1))

    config = output / "configs" / f"{cell.label}.yaml"
    write_text(config, OmegaConf.to_yaml(OmegaConf.create(cell.settings)))
    fill(result, "training", "pretrain", config)
    for view, words in cell.heldout.items():
        fill(result["heldout"], view, "evaluate", run, "--no-sources", *words)
    if given.minimal_pairs:
        words = [
            "--no-sources",
            "training.heldout.samples=1",
            "--minimal-pairs",
            given.minimal_pairs,
        ]
        fill(result["minimal_pairs"], given.minimal_pairs.name, "evaluate", run, *words)
    for recipe in given.recipes:
        fill(
            result["downstream"],
            recipe.stem,
            "finetune",
            run,
            "--task",
            recipe,
            "--data",
            given.data,
            *cell.finetune,
        )
    return result


def compare(given: argparse.Namespace) -> str:
    """Run the cells that were asked for, write table and plot, and return the table."""
    suite, scale, output = load_suite(given.suite), load_scale(given.scale), given.output.absolute()
    if unknown := sorted(
        {*(given.cells or ()), *([given.baseline] if given.baseline else [])} - set(suite.cells)
    ):
        raise UserError(f"unknown cell {unknown[0]!r}; accepted: {', '.join(suite.cells)}")
    if given.recipes and not given.data:
        raise UserError("--recipes needs --data, the folder of their files")
    if given.init_from:
        scale["encoder"] = scale["encoder"] | {"init_from": given.init_from}
    per_step = scale["data"]["rows"] * scale["data"]["row_length"]
    steps = given.steps or (given.tokens // per_step if given.tokens else scale["steps"])
    results = []
    baseline = given.baseline or suite.baseline
    # What is in `runs` is looked at by each run itself.
    with sole_writer(output, ("configs", "results", "table.md"), foreign=("runs",)):
        for folder in ("configs", "results", "runs"):
            (output / folder).mkdir(exist_ok=True)
        # Seed by seed, so that a suite that is broken off has whole comparisons.
        for seed in given.seeds:
            for name in given.cells or suite.cells:
                cell = make_cell(suite, name, seed, scale, steps, output, given.corpus.resolve())
                results.append(run_cell(cell, output, given))
        table = markdown(f"{suite.title}, {given.scale}, {steps:,} steps", results, baseline)
        write_text(output / "table.md", table)
    if given.plot:
        plot(results, baseline, given.plot)
    return table


def read_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suite", type=Path)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--scale", default="tiny", help="of suites/scales.yaml; default: tiny")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--cells", nargs="+", help="only these; default: all")
    parser.add_argument(
        "--baseline", help="cell that the others are compared with; default: the suite's"
    )
    parser.add_argument("--steps", type=int, help="of each run; default: the scale's")
    parser.add_argument(
        "--tokens", type=int, help="places for tokens of each run, in place of --steps"
    )
    parser.add_argument(
        "--init-from",
        help="encoder that every cell starts from, as encoder.init_from; default: random weights",
    )
    parser.add_argument(
        "--threads", type=int, help="of each command; default: as many as there are cores"
    )
    parser.add_argument(
        "--minimal-pairs", type=Path, help="JSONL of good and bad sentences, or a folder of such"
    )
    parser.add_argument("--recipes", type=Path, nargs="+", default=[], help="of the verb finetune")
    parser.add_argument("--data", type=Path, help="folder of the files of the recipes")
    parser.add_argument(
        "--plot", type=Path, help="draw the differences into this file (extra `compare`)"
    )
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    try:
        print(compare(read_arguments(words)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
