"""The best of many trained models, held in a folder: a model is saved only when it is better."""

from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from transformers import PreTrainedModel

from ernie_cmtl.atomic_files import remove_folder
from ernie_cmtl.pretrained.weights import quiet_loading
from ernie_cmtl.records import Array

_OF_RATE, _BEST = "best-of-rate", "best"


@dataclass(frozen=True)
class Judged:
    """A trained model with its scores."""

    model: PreTrainedModel
    run: dict[str, Any]
    """Learning rate, seed, steps, loss, and the scores of each split."""
    outputs: dict[str, list[Array]]
    """Split -> what the head gave for each input."""


@dataclass(frozen=True)
class Chosen:
    """What is remembered of a model that was saved."""

    run: dict[str, Any]
    outputs: dict[str, list[Array]]
    device: torch.device
    """Where it was judged."""


class BestModel:
    """Follows the models of each learning rate: the rate with the highest mean on dev wins, and of
    its models the one with the highest score. Without dev, which allows one rate only, the first
    model is the best one.
    """

    def __init__(self, folder: Path, metric: str) -> None:
        self._folder, self._metric = folder, metric
        self._scores: list[float] = []
        self._of_rate: Chosen | None = None
        self._best: Chosen | None = None
        self._best_mean = 0.0

    def offer(self, judged: Judged) -> None:
        """Save a model if it is the best one of its learning rate so far."""
        score = judged.run["dev"][self._metric] if "dev" in judged.run else 0.0
        if not self._scores or score > max(self._scores):
            remove_folder(self._folder / _OF_RATE)
            with quiet_loading():
                judged.model.save_pretrained(self._folder / _OF_RATE)
            self._of_rate = Chosen(judged.run, judged.outputs, judged.model.device)
        self._scores.append(score)

    def end_rate(self) -> None:
        """Compare the learning rate whose models were offered with the best one before it."""
        found = mean(self._scores)
        if self._best is None or found > self._best_mean:
            remove_folder(self._folder / _BEST)
            (self._folder / _OF_RATE).rename(self._folder / _BEST)
            self._best, self._best_mean = self._of_rate, found
        self._scores = []

    def finish(self) -> Chosen:
        """Move the best model to the top of the folder, remove the others, and return it."""
        assert self._best is not None
        for path in (self._folder / _BEST).iterdir():
            path.rename(self._folder / path.name)
        for name in (_BEST, _OF_RATE):
            remove_folder(self._folder / name)
        return self._best
