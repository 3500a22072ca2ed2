"""Checkpoints of a tiny model."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ernie_cmtl.records import Ledger
from ernie_cmtl.training.checkpoint import checkpoints, save_checkpoint, snapshot
from ernie_cmtl.training.optimizer import OptimizerConfig, Optimizers, build_optimizer

ABOUT: dict[str, Any] = {
    "fingerprint": "abc",
    "tasks": ["a", "b"],
    "settings": {"seed": 1, "stages": [{"name": "ä"}]},
}


class TinyModel(nn.Module):
    """A used and an unused layer: a parameter that never got a gradient has no optimizer state."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.dense = nn.Linear(5, 3)
        self.LayerNorm = nn.LayerNorm(3)
        self.idle = nn.Linear(2, 2)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(self.dense(values))


def new_pair(seed: int) -> tuple[TinyModel, Optimizers]:
    model = TinyModel(seed)
    return model, build_optimizer(model, OptimizerConfig(learning_rate=0.01), (nn.LayerNorm,), [])


def train(model: nn.Module, optimizer: Optimizers, steps: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        loss = (
            (model(torch.randn(4, 5, generator=generator)) - torch.randn(4, 3, generator=generator))
            .square()
            .sum()
        )
        loss.backward()
        optimizer.step_unless(torch.tensor(False))
        optimizer.zero_grad()


def ledger(step: int) -> Ledger:
    return Ledger(step, (3, 4), (100, 200), (1 / 3, 200.1), (4.5, 7.5))


def save(folder: Path, step: int, keep: int = 9, seed: int = 0) -> Path:
    return save_pair(folder, *new_pair(seed), step, keep)


def save_pair(
    folder: Path, model: nn.Module, optimizer: Optimizers, step: int, keep: int = 9
) -> Path:
    return save_checkpoint(folder, snapshot(model, optimizer, ledger(step), ABOUT), keep)


def names(folder: Path) -> list[str]:
    return [path.name for path in checkpoints(folder)]


def moments(model: nn.Module, optimizer: Optimizers) -> dict[tuple[str, str], torch.Tensor]:
    return {
        (name, key): value
        for name, p in model.named_parameters()
        for key, value in optimizer.state.get(p, {}).items()
    }


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """Let every write beyond a size of a file fail, in whatever language it is made."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
