"""Tiny runs: their settings, what they have written, and a watcher that breaks them off."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.run.observer import Observer
from ernie_cmtl.run.run import Run
from ernie_cmtl.settings import dump
from ernie_cmtl.training.checkpoint import checkpoints
from ernie_cmtl.training.metrics import read_metrics
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.workers import Worker

TINY_TASKS = ("knowledge_masking", "capitalization", "sentence_reordering")
"""Of a tiny run, in the order of their rows."""


def tiny_settings(corpus: Corpus, run: Path) -> dict[str, Any]:
    """Settings of a run of a 2x32 encoder: two stages, three tasks, 12 steps of 8 rows of 64
    tokens.
    """
    return {
        "run": str(run),
        "corpus": str(corpus.folder),
        "stages": [
            {"name": "first", "budgets": {"knowledge_masking": 5}},
            {
                "name": "second",
                "budgets": {"knowledge_masking": 3, "capitalization": 2, "sentence_reordering": 2},
            },
        ],
        "data": {"row_length": 64, "rows": 8, "rows_per_group": 2},
        "encoder": {"layers": 2, "hidden_size": 32, "attention_heads": 2, "maximum_positions": 64},
        "optimizer": {"learning_rate": 1e-3, "warmup_steps": 2},
        "training": {
            "precision": "fp32",
            "log_every": 1,
            "heldout": {"samples": 8},
            "checkpoints": {"every": 4},
            "trackers": [],
        },
    }


def finished_run(corpus: Corpus, folder: Path, **encoder: Any) -> Path:
    """Train the shortest run there is, two steps of one task, and return its folder."""
    settings = tiny_settings(corpus, folder)
    settings["encoder"] |= encoder
    settings["stages"] = [{"name": "only", "budgets": {"knowledge_masking": 2}}]
    pretrain(RunConfig.model_validate(settings), Observer())
    return folder


ROOT = Path(__file__).parents[2]


class Watcher(Observer):
    """Observes a run; may break it off or ask it to stop after a step."""

    def __init__(self, crash_at: int = 0, interrupt_at: int = 0) -> None:
        self.crash_at, self.interrupt_at = crash_at, interrupt_at
        self.stopped_at = 0

    def started(self, steps: int, done: int, workers: int, precision: str) -> None:
        self.began_at = done

    def logged(self, stage: str, line: dict[str, Any]) -> None:
        if line["step"] == self.crash_at:
            raise KeyboardInterrupt("power cut")
        if line["step"] == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)

    def stopped(self, step: int, reason: str) -> None:
        self.stopped_at = step


def logged_lines(run: Path, kind: str = "train") -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == kind]


def trace(run: Path) -> list[tuple[int, float, float]]:
    return [(row["step"], row["loss"], row["gradient_norm"]) for row in logged_lines(run)]


def final_tensors(run: Path) -> dict[str, torch.Tensor]:
    newest = checkpoints(run / "checkpoints")[-1]
    return load_file(newest / "model.safetensors") | load_file(newest / "optimizer.safetensors")


def same_tensors(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def pretrain_command(
    config: RunConfig, folder: Path, workers: int = 1
) -> tuple[list[str], dict[str, str]]:
    path = folder / "run.yaml"
    path.write_text(dump(config))
    launcher = (
        ["-m", "torch.distributed.run", "--nproc-per-node", str(workers)] if workers > 1 else []
    )
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "MASTER_PORT": str(20000 + os.getpid() % 20000),
    }
    return [
        sys.executable,
        *launcher,
        str(ROOT / "launch.py"),
        "pretrain",
        str(path),
        "--json",
    ], environment


def with_training(config: RunConfig, **changes: Any) -> RunConfig:
    """Return a configuration with other settings under `training`; of a group those that are
    named.
    """
    training = config.training
    groups = {
        name: getattr(training, name).model_copy(update=value)
        for name, value in changes.items()
        if isinstance(value, dict)
    }
    return config.model_copy(update={"training": training.model_copy(update=changes | groups)})


def long_run(english: Corpus, run: Path) -> RunConfig:
    """A run that does not end by itself within a test; two loader processes for each worker."""
    settings = tiny_settings(english, run)
    settings["stages"] = [{"name": "all", "budgets": {"knowledge_masking": 20_000}}]
    settings["data"]["loader_workers"] = 2
    settings["training"]["checkpoints"] = {"every": 10**6}
    return RunConfig.model_validate(settings)


def wait_until(
    true: Callable[[], bool], processes: Sequence[Worker | subprocess.Popen[bytes]]
) -> None:
    """Wait for something that processes must bring about before any of them ends."""
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes)
        time.sleep(0.001)


def last_step(run: Path) -> int:
    """The last step that a run has logged."""
    return max((line["step"] for line in read_metrics(run / "metrics.jsonl", "train")), default=0)


def config_of(corpus: Corpus, run: Path, steps: int, loader_workers: int) -> RunConfig:
    """A run of two stages that saves every third step."""
    settings = tiny_settings(corpus, run)
    tasks = {"knowledge_masking": steps // 4, "capitalization": steps // 4}
    settings["stages"] = [
        {"name": "first", "budgets": {"knowledge_masking": steps // 2}},
        {"name": "second", "budgets": tasks},
    ]
    settings["data"] |= {"rows_per_group": 4, "loader_workers": loader_workers}
    settings["training"]["checkpoints"] = {"every": 3}
    return RunConfig.model_validate(settings)


def make_run(corpus: Corpus, stages: list[dict[str, int]] | None = None, **changes: Any) -> Run:
    settings = tiny_settings(corpus, Path("unused")) | changes
    if stages:
        settings["stages"] = [
            {"name": f"stage{number}", "budgets": budgets} for number, budgets in enumerate(stages)
        ]
    return Run(RunConfig.model_validate(settings))
