"""Minutes to a held-out loss beside `transformers.Trainer`: the same text, vocabulary, size of the
encoder, tokens a step, and the same held-out tokens with the same masks.

    python benchmarks/time_to_loss.py --corpus corpora/bench_en --loss 5.5 [--minutes 60]
        [--sides ours "BERT, fp32" ...] [--rates 5e-4 1e-3 2e-3] [--threads 2]

Every side masks 15 % of the tokens one by one (80/10/10), in samples of 128 tokens and steps of
4,096, with AdamW, a warm-up of 100 steps and then a flat rate, clipping at 1. The peers train as
the stock script for masked tokens does: texts joined and cut into full rows. Each side first takes
305 steps at each rate and then starts afresh at the best one. Time is that of training alone: the
evaluations every 61 steps are not counted. `--tokens-only` leaves the rates out and runs a side on
one thread beside other work: its tokens count, its seconds do not.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from torch.utils.data import Dataset

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.model.tensor_batch import TensorBatch
from ernie_cmtl.parent_process import ends_with_this_process, stop_with_parent
from ernie_cmtl.records import Batch, IntArray
from ernie_cmtl.run.run import Run
from ernie_cmtl.training.distributed import Workers

ROOT = Path(__file__).parents[1]
LENGTH, ROWS, EVERY, HELD_OUT, TRIAL = 128, 32, 61, 256, 305
LAYERS, HIDDEN, HEADS = 4, 256, 4
SIDES = ("ours", "BERT, fp32", "BERT, bf16", "ModernBERT, fp32", "ModernBERT, bf16")


@dataclass
class Curve:
    """What one side came to: the loss by tokens and seconds of training."""

    target: float
    most_seconds: float
    most_steps: int
    points: list[tuple[int, float, float]] = field(default_factory=list)
    seconds: float = 0.0

    def evaluated(self, step: int, loss: float) -> bool:
        """Take note of a loss; tell whether the side has come to its end."""
        tokens = step * ROWS * LENGTH
        self.points.append((tokens, round(self.seconds, 2), round(loss, 4)))
        print(json.dumps({"tokens": tokens, "seconds": self.seconds, "loss": loss}), flush=True)
        over = self.seconds >= self.most_seconds or step >= self.most_steps
        return over or loss <= self.target


def rows_of(corpus: Corpus, split: str) -> IntArray:
    """Return the text of a split, joined and cut into full rows; int64 [rows, LENGTH]."""
    parts = [arrays["token_ids"] for arrays in corpus.split(split).arrays]  # type: ignore[arg-type]
    tokens = np.concatenate(parts).astype(np.int64)
    inner = LENGTH - 2
    rows = tokens[: len(tokens) // inner * inner].reshape(-1, inner)
    ends = [
        np.full((len(rows), 1), token)
        for token in (corpus.vocabulary.cls_id, corpus.vocabulary.sep_id)
    ]
    return np.concatenate([ends[0], rows, ends[1]], axis=1)


def held_out(corpus: Corpus) -> tuple[IntArray, IntArray]:
    """Return masked rows and labels (-100 where nothing is asked); int64 [HELD_OUT, LENGTH]."""
    rng, rows = np.random.default_rng(0), rows_of(corpus, "heldout")[:HELD_OUT]
    chosen = (rng.random(rows.shape) < 0.15) & ~corpus.vocabulary.special[rows]
    labels = np.where(chosen, rows, -100)
    how, other = rng.random(rows.shape), rng.choice(corpus.vocabulary.ordinary_ids, rows.shape)
    masked = np.where(chosen & (how < 0.8), corpus.vocabulary.mask_id, rows)
    return np.where(chosen & (how >= 0.9), other, masked), labels


def loss_of(scores: Callable[[IntArray], Tensor], corpus: Corpus) -> float:
    """Return the mean loss of the masked tokens; scores: rows -> [rows x LENGTH, vocabulary]."""
    rows, labels = held_out(corpus)
    total = 0.0
    with torch.no_grad():
        for first in range(0, HELD_OUT, ROWS):
            part = slice(first, first + ROWS)
            found = scores(rows[part]).float()
            target = torch.from_numpy(labels[part]).flatten()
            total += float(nn.functional.cross_entropy(found, target, reduction="sum"))
    return total / int((labels >= 0).sum())


def train_ours(corpus: Path, rate: float, curve: Curve) -> None:
    """Train an encoder of ours with rotary positions."""
    encoder = {"layers": LAYERS, "hidden_size": HIDDEN, "attention_heads": HEADS}
    settings: dict[str, Any] = {
        "run": "unused",
        "corpus": str(corpus),
        "stages": [{"name": "all", "budgets": {"knowledge_masking": curve.most_steps}}],
        "tasks": {"knowledge_masking": {"masking": {"units": "token"}}},
        "data": {"row_length": LENGTH, "rows": ROWS, "rows_per_group": ROWS},
        "encoder": encoder | {"positions": "rotary", "dropout": 0.0, "maximum_positions": LENGTH},
        "optimizer": {"schedule": "constant", "learning_rate": rate, "warmup_steps": 100},
    }
    run = Run(RunConfig.model_validate(settings))
    workers = Workers()
    trainer = run.new_trainer(run.new_model(), workers)

    def scores(rows: IntArray) -> Tensor:
        flat, number = np.zeros_like(rows), len(rows)
        places = np.tile(np.arange(LENGTH), (number, 1))
        starts, lengths = np.arange(number) * LENGTH, np.full(number, LENGTH)
        batch = Batch(rows, flat, flat, places, starts, lengths, {})
        with workers.autocast():
            return trainer.model.masked_token_scores(TensorBatch.of(batch, workers.device))

    start = time.perf_counter()
    for result in trainer.run(run.steps_from(run.first_ledger(), curve.most_steps, 0, 1)):
        if (result.step + 1) % EVERY == 0:
            curve.seconds += time.perf_counter() - start
            trainer.model.train(False)
            ended = curve.evaluated(result.step + 1, loss_of(scores, run.corpus))
            trainer.model.train()
            if ended:
                return
            start = time.perf_counter()


def peer(name: str, corpus: Corpus) -> nn.Module:
    """Return an untrained model of transformers."""
    sizes: dict[str, Any] = {
        "vocab_size": corpus.vocabulary.size,
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "pad_token_id": corpus.vocabulary.pad_id,
    }
    if name == "BERT":
        return transformers.BertForMaskedLM(
            transformers.BertConfig(
                **sizes,
                intermediate_size=4 * HIDDEN,
                attention_probs_dropout_prob=0.0,
                hidden_dropout_prob=0.0,
            )
        )
    ends = {"cls_token_id": corpus.vocabulary.cls_id, "sep_token_id": corpus.vocabulary.sep_id}
    config = transformers.ModernBertConfig(
        # As many weights as BERT's layer, in three matrices.
        **(sizes | ends),
        intermediate_size=HIDDEN * 8 // 3 // 32 * 32,
        bos_token_id=None,
        eos_token_id=None,
    )
    return transformers.ModernBertForMaskedLM(config)


class TextRows(Dataset[dict[str, list[int]]]):
    """The text in full rows, for the Trainer."""

    def __init__(self, rows: IntArray) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, list[int]]:
        return {"input_ids": self.rows[number].tolist()}


class Judge(transformers.TrainerCallback):
    """Stops the clock, judges the model, and stops the training where the side has ended."""

    def __init__(self, corpus: Corpus, curve: Curve) -> None:
        self.corpus, self.curve = corpus, curve
        self.started = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if state.global_step % EVERY:
            return
        model = given["model"]
        self.curve.seconds += time.perf_counter() - self.started
        model.train(False)

        def scores(rows: IntArray) -> Tensor:
            logits: Tensor = model(input_ids=torch.from_numpy(rows)).logits
            return logits.flatten(0, 1)

        control.should_training_stop = self.curve.evaluated(
            state.global_step, loss_of(scores, self.corpus)
        )
        model.train()
        self.started = time.perf_counter()


def train_peer(side: str, folder: Path, rate: float, curve: Curve) -> None:
    """Train a model of transformers with its own Trainer."""
    name, precision = side.split(", ")
    corpus = Corpus(folder)
    transformers.set_seed(1)
    with tempfile.TemporaryDirectory() as output:
        settings = transformers.TrainingArguments(
            output_dir=output,
            max_steps=curve.most_steps,
            per_device_train_batch_size=ROWS,
            learning_rate=rate,
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=100,
            adam_beta2=0.98,
            weight_decay=0.01,
            max_grad_norm=1.0,
            bf16=precision == "bf16",
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            seed=1,
        )
        collator = transformers.DataCollatorForLanguageModeling(
            corpus.tokenizer, mlm_probability=0.15
        )
        transformers.Trainer(
            peer(name, corpus),
            settings,
            data_collator=collator,
            train_dataset=TextRows(rows_of(corpus, "train")),
            callbacks=[Judge(corpus, curve)],
        ).train()


def lines_of(
    given: argparse.Namespace, side: str, rate: float, *more: str
) -> Iterator[dict[str, float]]:
    """Run one side in a process of its own, and yield what it reports."""
    threads = "1" if given.tokens_only else str(given.threads)
    words = [__file__, "--corpus", str(given.corpus), "--side", side, "--rate", str(rate)]
    done = subprocess.run(
        [sys.executable, *words, "--loss", str(given.loss), *more],
        cwd=ROOT,
        env=os.environ
        | {"OMP_NUM_THREADS": threads, "PYTHONPATH": str(ROOT)}
        | ends_with_this_process(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    for line in done.stdout.splitlines():
        # The Trainer prints a dictionary of its own.
        if line.startswith('{"tokens"'):
            yield json.loads(line)


def best_rate(given: argparse.Namespace, side: str) -> float:
    """Return the rate with the lowest loss after 305 steps."""
    if len(given.rates) == 1:
        return float(given.rates[0])
    last = {
        rate: list(lines_of(given, side, rate, "--steps", str(TRIAL)))[-1]["loss"]
        for rate in given.rates
    }
    print(f"<!-- {side}: {last} -->", flush=True)
    return float(min(last, key=lambda rate: last[rate]))


def main() -> None:
    stop_with_parent()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--loss", type=float, default=5.5)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--rates", nargs="+", type=float, default=[5e-4, 1e-3, 2e-3])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--tokens-only", action="store_true")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=10**5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.corpus = given.corpus.resolve()
    if given.side:
        curve = Curve(given.loss, 60 * given.minutes, given.steps)
        if given.side == "ours":
            train_ours(given.corpus, given.rate, curve)
        else:
            train_peer(given.side, given.corpus, given.rate, curve)
        return
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{date.today()}, {platform.machine()}, {given.threads} thread(s), {versions}")
    print(f"{LAYERS}x{HIDDEN}, {ROWS * LENGTH:,} tokens a step, held-out loss {given.loss}\n")
    print("| side | rate | minutes | tokens | tokens/s | last loss |")
    print("|---|---:|---:|---:|---:|---:|")
    for side in given.sides:
        rate = best_rate(given, side)
        last = list(lines_of(given, side, rate, "--minutes", str(given.minutes)))[-1]
        more = "" if last["loss"] <= given.loss else "> "
        minutes, speed = last["seconds"] / 60, last["tokens"] / last["seconds"]
        print(
            f"| {side} | {rate:g} | {more}{minutes:.1f} | {more}{last['tokens']:,.0f} | "
            f"{speed:,.0f} | {last['loss']:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
