"""Held-out loss and accuracy of each task on examples that never change."""

from collections.abc import Iterable, Sequence
from typing import NotRequired, TypedDict, cast

import torch
from torch import Tensor

from ernie_cmtl.data.loader import fixed_batches
from ernie_cmtl.data.step_shape import DataConfig
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.evaluation.intervals import Interval, clustered
from ernie_cmtl.head_kinds import head_kind
from ernie_cmtl.model.multitask import HITS, LABELS, LOSS, MultiTaskModel
from ernie_cmtl.records import Batch
from ernie_cmtl.task import HeadSpec
from ernie_cmtl.task_instance import TaskInstance
from ernie_cmtl.training.distributed import Workers
from ernie_cmtl.training.sharding import whole_weights

_COLUMNS = 6
"""Of the sums: those of the statistics, and three for intervals."""


class Score(TypedDict):
    """Means over labels."""

    loss: float
    accuracy: float | None
    """None for regression."""
    labels: int
    interval: NotRequired[Interval]
    """Of a held-out accuracy, 95 %; labels of one sequence count together."""
    majority: NotRequired[float]
    """Accuracy without reading: of the most frequent of the labels that are judged, or, where the
    label is one of several candidates, of chance.
    """


class GroupScore(Score):
    """Means over the labels of one group, with only the classes of the group to choose from."""

    classes: int
    """Chance is an accuracy of 1 / classes and a loss of ln classes."""


class HeadScore(Score):
    """Means over the labels of one head of one task."""

    given: NotRequired[dict[str, GroupScore]]
    """Group that the input shows (`HeadSpec.shown_groups`) -> score within it."""
    one_class: NotRequired[bool]
    """Does the model give one and the same answer for all labels."""


def scores_by_head(
    statistics: Tensor, heads: Iterable[str], instances: Iterable[TaskInstance]
) -> dict[str, HeadScore]:
    """Turn summed statistics [heads, tasks, 3] into `<instance>/<head>` -> score; heads without a
    label are left out.
    """
    rows = {name: row for row, name in enumerate(heads)}
    found: dict[str, HeadScore] = {}
    for number, instance in enumerate(instances):
        for name, spec in instance.heads.items():
            if score := _score(statistics[rows[name], number], spec):
                found[f"{instance.name}/{spec.name}"] = score
    return found


def _score(sums: Tensor, spec: HeadSpec) -> HeadScore | None:
    labels = int(sums[LABELS])
    if not labels:
        return None
    is_regression = head_kind(spec.kind).is_regression
    accuracy = None if is_regression else float(sums[HITS]) / labels
    return {"loss": float(sums[LOSS]) / labels, "accuracy": accuracy, "labels": labels}


@torch.no_grad()
def heldout_scores(
    model: MultiTaskModel,
    streams: Sequence[SampleStream],
    samples: int,
    config: DataConfig,
    pad_id: int,
    workers: Workers,
) -> dict[str, HeadScore]:
    """Score a model on the first held-out samples of each task; workers share the batches."""
    training = model.training
    model.eval()
    found: dict[str, HeadScore] = {}
    # Workers score different numbers of batches.
    with whole_weights(model):
        for stream in streams:
            found |= _stream_scores(model, stream, samples, config, pad_id, workers)
    model.train(training)
    return found


def _stream_scores(
    model: MultiTaskModel,
    stream: SampleStream,
    samples: int,
    config: DataConfig,
    pad_id: int,
    workers: Workers,
) -> dict[str, HeadScore]:
    heads = stream.instance.heads
    sums = {
        name: torch.zeros(1 + len(set(spec.shown_groups)), _COLUMNS, dtype=torch.float64)
        for name, spec in heads.items()
    }
    answers = {
        name: torch.zeros(2, _classes(model, spec), dtype=torch.float64)
        for name, spec in heads.items()
        if not head_kind(spec.kind).is_regression
    }
    for number, batch in fixed_batches(stream, samples, config, pad_id):
        if number % workers.count == workers.rank:
            moved = model.on_device(batch, workers.device)
            for name, spec in heads.items():
                if batch.targets[name].tasks[0] >= 0:
                    with workers.autocast():
                        scores = model.head_scores(moved, name)
                    labels = moved.targets[name].labels
                    sums[name] += _sums(spec, scores, labels, _sequences(batch, name))
                    if name in answers:
                        answers[name] += _class_counts(scores, labels)
    found: dict[str, HeadScore] = {}
    for name, spec in heads.items():
        total = workers.sum(sums[name].to(workers.device)).cpu()
        if score := _heldout_score(total[0], spec):
            if spec.shown_groups:
                score["given"] = _given(spec, total[1:])
            if name in answers:
                _add_majority(score, spec, workers.sum(answers[name].to(workers.device)).cpu())
            found[f"{stream.instance.name}/{spec.name}"] = score
    return found


def _heldout_score(sums: Tensor, spec: HeadSpec) -> HeadScore | None:
    score = _score(sums, spec)
    if score and score["accuracy"] is not None:
        score["interval"] = clustered(*sums[HITS:].tolist())
    return score


def _classes(model: MultiTaskModel, spec: HeadSpec) -> int:
    kind = head_kind(spec.kind)
    return model.family.vocabulary_size if kind.labels == "token" else spec.classes


def _class_counts(scores: Tensor, labels: Tensor) -> Tensor:
    """Return how often each class is the label and how often it is the answer; [2, classes]."""
    classes = scores.shape[-1]
    counts = [torch.bincount(found, minlength=classes) for found in (labels, scores.argmax(-1))]
    return torch.stack(counts).double().cpu()


def _add_majority(score: HeadScore, spec: HeadSpec, counts: Tensor) -> None:
    """Add what the same answer for all labels would reach; counts: those of `_class_counts`."""
    labels, answers = counts
    candidates = head_kind(spec.kind).candidates(spec)
    score["majority"] = 1 / candidates if candidates else float(labels.max() / labels.sum())
    score["one_class"] = score["labels"] > 1 and int((answers > 0).sum()) == 1
    for group, inner in score.get("given", {}).items():
        members = labels[[name == group for name in spec.shown_groups]]
        inner["majority"] = float(members.max() / members.sum())


def _sequences(batch: Batch, head: str) -> Tensor:
    """Return the number of the sequence that each label of a head stands in; [N]."""
    places = batch.targets[head].positions.reshape(len(batch.targets[head].labels), -1)[:, 0]
    return torch.from_numpy(batch.sequence_starts.searchsorted(places, side="right") - 1)


def _sums(spec: HeadSpec, scores: Tensor, labels: Tensor, sequences: Tensor) -> Tensor:
    """Return the sums of `_sum` over all labels and within each shown group; [1 + groups,
    columns].
    """
    kind, names = head_kind(spec.kind), list(dict.fromkeys(spec.shown_groups))
    rows = [_sum(*kind.losses_and_hits(scores, labels), sequences)]
    if names:
        group_of_class = torch.tensor(
            [names.index(name) for name in spec.shown_groups], device=labels.device
        )
        other = group_of_class[labels][:, None] != group_of_class[None, :]
        losses, hits = kind.losses_and_hits(scores.float().masked_fill(other, -torch.inf), labels)
        for group in range(len(names)):
            members = group_of_class[labels] == group
            rows.append(_sum(losses[members], hits[members], sequences[members.cpu()]))
    return torch.stack(rows)


def _sum(losses: Tensor, hits: Tensor, sequences: Tensor) -> Tensor:
    """Return loss, hits and labels, and the sums over sequences of hits², hits x labels and
    labels²; [columns].
    """
    losses, hits = losses.cpu().double(), hits.cpu().double()
    labels_of = torch.bincount(sequences).double()
    hits_of = torch.bincount(sequences, weights=hits)
    products = [(hits_of**2).sum(), (hits_of * labels_of).sum(), (labels_of**2).sum()]
    return torch.stack([losses.sum(), hits.sum(), labels_of.sum(), *products])


def _given(spec: HeadSpec, sums: Tensor) -> dict[str, GroupScore]:
    found: dict[str, GroupScore] = {}
    for row, name in enumerate(dict.fromkeys(spec.shown_groups)):
        if score := _heldout_score(sums[row], spec):
            found[name] = cast(GroupScore, score | {"classes": spec.shown_groups.count(name)})
    return found
