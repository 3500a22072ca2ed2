"""Real tokens a second beside `transformers.Trainer`: the same text, vocabulary, encoder size,
length and tokens a step.

    python benchmarks/vs_hf_trainer.py --corpus corpora/bench_en [--length 128 512] [--threads 2]
        [--steps 20] [--rounds 3] [--sides masking "Trainer, fp32"] [--setup cpu]

--setup gpu_base, gpu_small and gpu_large take one GPU (not run yet: what is aimed at on an H200 is
505,000 tokens a second and an MFU of 30 % with gpu_base and the seven tasks, 2.5 times the Trainer
in bf16).

The peer trains `BertForMaskedLM` as the stock masked-language-model script does: texts joined and
cut into full rows, 15 % of the tokens masked by `DataCollatorForLanguageModeling`, AdamW, clipping
at 1, hidden dropout 0.1; its attention dropout is off, as ours is. On our side `--length` is that
of the longest sample, in rows of 512, and the precision is what a run takes by itself. Each turn is
a process of its own; sides take turns, and the table holds the median of the rounds and the ratios.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from ernie_cmtl.parent_process import ends_with_this_process, stop_with_parent

ROOT = Path(__file__).parents[1]
ROW_LENGTH = 512


@dataclass(frozen=True)
class Setup:
    """Size of the encoder and of a step."""

    layers: int
    hidden_size: int
    attention_heads: int
    rows: int
    """Of ROW_LENGTH places."""
    rows_per_group: int
    gpu: bool = True
    warmup: int = 10
    """Steps that are not timed; on a GPU, what is compiled is compiled in them."""

    @property
    def overrides(self) -> list[str]:
        """Settings of our side."""
        found = [
            f"encoder.{name}={getattr(self, name)}"
            for name in ("layers", "hidden_size", "attention_heads")
        ]
        found += [
            f"data.row_length={ROW_LENGTH}",
            f"data.rows={self.rows}",
            f"data.rows_per_group={self.rows_per_group}",
        ]
        return found + (["training.compile=true", "data.loader_workers=2"] if self.gpu else [])


SETUPS = {
    "cpu": Setup(4, 256, 4, rows=8, rows_per_group=8, gpu=False, warmup=3),
    "gpu_small": Setup(4, 256, 4, rows=256, rows_per_group=256),
    "gpu_base": Setup(12, 768, 12, rows=256, rows_per_group=128),
    "gpu_large": Setup(24, 1024, 16, rows=256, rows_per_group=64),
}
MASKED = (
    "token_document_relation",
    "capitalization",
    "sentence_reordering",
    "sentence_distance",
    "discourse_relation",
    "ir_relevance",
)
"""Tasks that mask tokens of their text too, as the default preset lets them."""
SIDES = {
    "masking": ["configs/bench/cpu_mlm.yaml"],
    "seven tasks": ["configs/bench/cpu_seven.yaml"],
    "seven tasks, masked": [
        "configs/bench/cpu_seven.yaml",
        *(f"tasks.{task}.masked_tokens=true" for task in MASKED),
    ],
    "masking, fp32": ["configs/bench/cpu_mlm.yaml", "training.precision=fp32"],
    "Trainer, fp32": ["fp32"],
    "Trainer, bf16": ["bf16"],
}


def train_peer(corpus: Path, length: int, precision: str, steps: int, setup: Setup) -> float:
    """Return tokens a second of the Trainer over the steps after the warm-up."""
    import numpy as np
    import torch
    from torch.utils.data import Dataset
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        DataCollatorForLanguageModeling,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from ernie_cmtl.corpus.store.corpus import Corpus

    opened = Corpus(corpus)
    tokens = np.concatenate(
        [arrays["token_ids"] for arrays in opened.split("train").arrays]
    ).astype(np.int64)
    cls, sep = opened.vocabulary.cls_id, opened.vocabulary.sep_id

    class Rows(Dataset[dict[str, list[int]]]):
        def __len__(self) -> int:
            return len(tokens) // (length - 2)

        def __getitem__(self, number: int) -> dict[str, list[int]]:
            inner = tokens[number * (length - 2) : (number + 1) * (length - 2)].tolist()
            return {"input_ids": [cls, *inner, sep]}

    class Clock(TrainerCallback):
        started = ended = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step not in (setup.warmup, setup.warmup + steps):
                return
            if setup.gpu:
                torch.cuda.synchronize()
            self.started, self.ended = self.ended, time.perf_counter()

    model = BertForMaskedLM(
        BertConfig(
            vocab_size=opened.vocabulary.size,
            hidden_size=setup.hidden_size,
            num_hidden_layers=setup.layers,
            num_attention_heads=setup.attention_heads,
            intermediate_size=4 * setup.hidden_size,
            max_position_embeddings=512,
            hidden_dropout_prob=0.1,
            attention_probs_dropout_prob=0.0,
        )
    )
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            max_steps=setup.warmup + steps,
            per_device_train_batch_size=setup.rows_per_group * ROW_LENGTH // length,
            gradient_accumulation_steps=setup.rows // setup.rows_per_group,
            dataloader_num_workers=2 if setup.gpu else 0,
            learning_rate=1e-3,
            weight_decay=0.01,
            max_grad_norm=1.0,
            bf16=precision == "bf16",
            use_cpu=not setup.gpu,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            seed=1,
        )
        collator = DataCollatorForLanguageModeling(opened.tokenizer, mlm_probability=0.15)
        Trainer(
            model, settings, data_collator=collator, train_dataset=Rows(), callbacks=[clock]
        ).train()
    return steps * setup.rows * ROW_LENGTH / (clock.ended - clock.started)


def turn(side: str, given: argparse.Namespace, length: int) -> dict[str, float]:
    """Run one side once, in a process of its own, and return what it reports."""
    setup = SETUPS[given.setup]
    what, *overrides = SIDES[side]
    if what.endswith(".yaml"):
        shape = [*setup.overrides, f"data.maximum_length={length}"]
        count = ["--steps", str(given.steps), "--warmup", str(setup.warmup), "--json"]
        words = [
            "launch.py",
            "bench",
            what,
            "--corpus",
            str(given.corpus),
            *count,
            *shape,
            *overrides,
        ]
    else:
        words = [
            __file__,
            "--corpus",
            str(given.corpus),
            "--steps",
            str(given.steps),
            "--setup",
            given.setup,
        ]
        words += ["--peer", what, "--length", str(length)]
    environment = os.environ | {"OMP_NUM_THREADS": str(given.threads), "PYTHONPATH": str(ROOT)}
    environment |= ends_with_this_process()
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    stop_with_parent()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--length", nargs="+", type=int, default=[128, 512])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--setup", choices=SETUPS, default="cpu")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--peer", choices=["fp32", "bf16"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.corpus = given.corpus.resolve()
    if given.peer:
        rate = train_peer(
            given.corpus, given.length[0], given.peer, given.steps, SETUPS[given.setup]
        )
        print(json.dumps({"real_tokens_per_second": rate}))
        return
    import torch
    import transformers

    setup = SETUPS[given.setup]
    if setup.gpu and not torch.cuda.is_available():
        parser.error(f"--setup {given.setup} needs a GPU; accepted here: cpu")
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    device = (
        torch.cuda.get_device_name()
        if setup.gpu
        else f"{platform.machine()}, {given.threads} thread(s)"
    )
    print(f"{date.today()}, {device}, {versions}")
    size = f"{setup.layers}x{setup.hidden_size}, {setup.rows * ROW_LENGTH:,} tokens a step"
    print(f"{size}, {given.steps} steps, {given.rounds} rounds\n")
    print("| length | side | tokens/s | rounds | MFU | times Trainer fp32 | times Trainer bf16 |")
    print("|---:|---|---:|---|---:|---:|---:|")
    for length in given.length:
        results: dict[str, list[dict[str, float]]] = {side: [] for side in given.sides}
        for _ in range(given.rounds):
            for side, found in results.items():
                found.append(turn(side, given, length))
        rates = {
            side: [one["real_tokens_per_second"] for one in found]
            for side, found in results.items()
        }
        medians = {side: statistics.median(found) for side, found in rates.items()}
        for side, found in rates.items():
            peers = [medians.get(peer) for peer in ("Trainer, fp32", "Trainer, bf16")]
            cells = [", ".join(f"{rate:,.0f}" for rate in found)]
            cells += [
                f"{statistics.median(one['mfu'] for one in results[side]):.0%}"
                if "mfu" in results[side][0]
                else ""
            ]
            cells += [f"{medians[side] / peer:.2f}" if peer else "" for peer in peers]
            print(f"| {length} | {side} | {medians[side]:,.0f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
