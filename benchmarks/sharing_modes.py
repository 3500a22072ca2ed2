"""Ways of sharing layers between tasks, compared at equal tokens with several seeds.

    python benchmarks/sharing_modes.py --corpus corpora/en --output runs/sharing --seeds 1 2 3

Each run goes through `pretrain`, and its result is kept as a file in OUTPUT: the same call again
continues. Prints a table of Markdown: of each arm the differences from hard sharing, paired by
seed, with 95 % intervals. --minimal-pairs judges each run on a file of pairs too.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from compare import verb
from omegaconf import OmegaConf

from ernie_cmtl.atomic_files import write_text
from ernie_cmtl.evaluation.intervals import paired_difference

LOW = "capitalization: 1, token_document_relation: 1, sentence_reordering: 1, sentence_distance: 1"
ARMS = {
    "hard": "sharing={mode: hard}",
    "hard, wider": "encoder.intermediate_size=1280",
    "partial, a family, last layer": "sharing={mode: partial, layers: 1, groups: family}",
    "partial, a task, rank 8": "sharing={mode: partial, groups: task, rank: 8}",
    "hierarchical": "sharing={mode: hierarchical}",
    "hierarchical, fed": "sharing={mode: hierarchical, levels: {" + LOW + "}, feed: true}",
    "soft, 0.01": "sharing={mode: soft, strength: 0.01}",
}
"""Name -> its setting; the wider one has as many parameters as a layer for each family."""
TASKS = (
    *("knowledge_masking", "capitalization", "token_document_relation", "sentence_reordering"),
    *("sentence_distance", "discourse_relation", "ir_relevance"),
)
SHARE = 160 / 2440
"""Part of the steps that each task but the first gets."""
SENTENCE_HEADS = (
    *("sentence_reordering/order", "sentence_distance/distance"),
    *("discourse_relation/marker", "ir_relevance/relevance"),
)


def settings(corpus: Path, steps: int) -> dict[str, Any]:
    """Return the settings that all arms have: six tenths of the steps mask alone."""
    each = round(steps * SHARE)
    budgets: dict[str, Any] = {task: {"budget": each} for task in TASKS[1:]}
    first = {TASKS[0]: {"budget": steps - each * (len(TASKS) - 1)}}
    return {
        "run": "unused",
        "corpus": str(corpus),
        "preset": {"tasks": first | budgets},
        "data": {"row_length": 512, "maximum_length": 128, "rows": 8, "rows_per_group": 8},
        "encoder": {
            **{"layers": 2, "hidden_size": 128, "attention_heads": 2, "maximum_positions": 128},
            **{"positions": "rotary", "dropout": 0.0},
        },
        "optimizer": {"learning_rate": 2e-3, "warmup_steps": 100, "schedule": "constant"},
        "training": {
            **{"log_every": 100, "heldout": {"samples": 512}, "trackers": []},
            "checkpoints": {"every": 100_000},
        },
    }


def measured(output: Path, config: Path, name: str, seed: int, pairs: Path | None) -> Any:
    """Train and judge one run, unless its result is there."""
    label = f"{name.replace(',', '').replace(' ', '-')}-{seed}"
    kept, run = output / f"{label}.json", output / label
    if not kept.is_file():
        words = ["pretrain", config, f"run={run}", f"seed={seed}", ARMS[name]]
        result = verb(1, *words)
        if pairs:
            judged = verb(1, "evaluate", run, "--minimal-pairs", pairs)
            result["minimal_pairs"] = judged["minimal_pairs"]
        write_text(kept, json.dumps(result))
    return json.loads(kept.read_text(encoding="utf-8"))


def values(result: dict[str, Any]) -> dict[str, float]:
    """Return what a run is compared by."""
    heldout = result["heldout"]
    sentences = [heldout[head]["accuracy"] for head in SENTENCE_HEADS]
    found = {
        "masked tokens, nats": heldout["knowledge_masking/masked_token"]["loss"],
        "capitals, %": 100 * heldout["capitalization/capital"]["accuracy"],
        "elsewhere, %": 100 * heldout["token_document_relation/elsewhere"]["accuracy"],
        "order, %": 100 * heldout["sentence_reordering/order"]["accuracy"],
        "sentence heads, %": 100 * sum(sentences) / len(sentences),
        "forgetting, points": 100 * result["retention"]["summary"]["accuracy"]["forgetting"],
    }
    if pairs := result.get("minimal_pairs"):
        found["minimal pairs, %"] = 100 * pairs["accuracy"]
    return found


def table(results: dict[str, dict[int, dict[str, float]]]) -> str:
    """Return the means of hard sharing and the differences of each arm from it."""
    measures = list(next(iter(results["hard"].values())))
    lines = [
        f"| arm | seeds | {' | '.join(measures)} |",
        "|---|---:" + "|---:" * len(measures) + "|",
    ]
    for name, by_seed in results.items():
        cells = []
        for measure in measures:
            of_arm, of_hard = (
                {seed: found[measure] for seed, found in results[arm].items()}
                for arm in (name, "hard")
            )
            if name == "hard":
                cells.append(f"{sum(of_arm.values()) / len(of_arm):.3f}")
                continue
            difference = paired_difference(of_arm, of_hard)
            assert difference, "every arm has a seed of hard sharing"
            mean, interval = difference
            span = f" ({interval[0]:+.3f} to {interval[1]:+.3f})" if interval else ""
            cells.append(f"{mean:+.3f}{span}")
        lines.append(f"| {name} | {len(by_seed)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=2440, help="4,096 tokens each")
    parser.add_argument("--minimal-pairs", type=Path)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    config = given.output / "settings.yaml"
    write_text(config, OmegaConf.to_yaml(OmegaConf.create(settings(given.corpus, given.steps))))
    results: dict[str, dict[int, dict[str, float]]] = {}
    for seed in given.seeds:
        for name in ARMS:
            result = measured(given.output, config, name, seed, given.minimal_pairs)
            results.setdefault(name, {})[seed] = values(result)
            print(f"{name}, seed {seed}: {results[name][seed]}", flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
