"""Held-out loss and accuracy of each task on examples that never change."""

from collections.abc import Iterable, Sequence
from typing import TypedDict

import torch
from torch import Tensor

from ernie_cmtl.data.loader import DataConfig, fixed_batches
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.model.multitask import HITS, LABELS, LOSS, MultiTaskModel, TensorBatch
from ernie_cmtl.task import TaskInstance
from ernie_cmtl.training.workers import Workers


class HeadScore(TypedDict):
    """Means over the labels of one head of one task."""

    loss: float
    accuracy: float | None
    """None for regression."""
    labels: int


def scores_by_head(statistics: Tensor, model: MultiTaskModel, instances: Iterable[TaskInstance]) -> dict[str, HeadScore]:
    """Turn summed statistics into `<instance>/<head>` -> score; heads without a label are left out."""
    rows = {name: row for row, name in enumerate(model.specs)}
    found: dict[str, HeadScore] = {}
    for number, instance in enumerate(instances):
        for name, spec in instance.heads.items():
            sums = statistics[rows[name], number]
            labels = int(sums[LABELS])
            if labels:
                accuracy = None if spec.kind.endswith("regression") else float(sums[HITS]) / labels
                found[f"{instance.name}/{spec.name}"] = {
                    "loss": float(sums[LOSS]) / labels,
                    "accuracy": accuracy,
                    "labels": labels,
                }
    return found


@torch.no_grad()
def heldout_scores(
    model: MultiTaskModel, streams: Sequence[SampleStream], samples: int, config: DataConfig, pad_id: int, workers: Workers
) -> dict[str, HeadScore]:
    """Score a model on the first held-out samples of each task; workers share the batches."""
    training = model.training
    model.eval()
    total = torch.zeros((len(model.specs), model.tasks + 1, 3), dtype=torch.float64, device=workers.device)
    coefficients = torch.zeros((len(model.specs), model.tasks + 1), device=workers.device)
    for task, stream in enumerate(streams):
        for number, batch in fixed_batches(stream, samples, config, pad_id):
            if number % workers.count == workers.rank:
                _, statistics = model(TensorBatch.of(batch, workers.device), coefficients)
                # A batch of one stream alone knows its task as number 0.
                total[:, task] += statistics[:, 0]
    model.train(training)
    return scores_by_head(workers.sum(total).cpu(), model, [stream.instance for stream in streams])
