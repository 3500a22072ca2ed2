"""How related the tasks of a run are: whether their losses pull the upper layers the same way."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypedDict

import torch
from torch import Tensor, nn

from ernie_cmtl.data.loader import batches_of
from ernie_cmtl.data.step_shape import DataConfig
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.errors import UserError
from ernie_cmtl.head_kinds import head_kind
from ernie_cmtl.model.encoder import EncoderFamily
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.records import Batch
from ernie_cmtl.task_instance import TaskInstance
from ernie_cmtl.training.distributed import Workers

RELIABLE = 0.2
"""A pair is known where the halves of both tasks agree by more than this cosine."""
_PIECE = 2**20
"""Numbers of a gradient that are multiplied at once, in double precision."""


class Halves(NamedTuple):
    """The gradient of a task on two halves of its samples; flat, [P] both."""

    first: Tensor
    second: Tensor


class Cosines(TypedDict):
    """What gradients say of the tasks that they belong to."""

    reliability: dict[str, float | None]
    """Task -> cosine of its two halves; None where a half has no gradient."""
    cosine: dict[str, dict[str, float | None]]
    """Task -> other task -> cosine of their gradients without the noise of the samples; None where
    it is not known.
    """


class Relatedness(Cosines):
    """Cosines, and what they were measured on."""

    layers: int
    """The last ones of the encoder."""
    samples: int
    """Most held-out samples of each task, both halves together."""
    used: dict[str, int]
    """Task -> held-out samples that there were."""


def cosines(gradients: Mapping[str, Halves]) -> Cosines:
    """Return how far gradients point the same way: of tasks i and j, with halves A and B,
    (g_iA.g_jB + g_iB.g_jA) / 2 / sqrt(g_iA.g_iB x g_jA.g_jB).

    No product has the same samples on both sides, so their noise falls out in the mean, where a
    plain cosine would be too small. It may come out beyond 1, and is then 1.

    gradients: task -> its halves, all of one length.
    """
    tasks = list(gradients)
    count = len(tasks)
    halves = [half for axis in (0, 1) for half in (gradients[task][axis] for task in tasks)]
    products = _products(halves)
    across = products[:count, count:]
    of_itself = across.diagonal()
    squares = products.diagonal()
    norms = (squares[:count] * squares[count:]).sqrt()
    reliability = {
        task: float(of_itself[number] / norms[number]) if norms[number] > 0 else None
        for number, task in enumerate(tasks)
    }
    known = {task for task, agree in reliability.items() if agree is not None and agree > RELIABLE}

    def cosine(i: int, j: int) -> float | None:
        if not {tasks[i], tasks[j]} <= known:
            return None
        found = (across[i, j] + across[j, i]) / 2 / (of_itself[i] * of_itself[j]).sqrt()
        return float(found.clamp(-1, 1))

    return {
        "reliability": reliability,
        "cosine": {
            task: {other: cosine(i, j) for j, other in enumerate(tasks) if j != i}
            for i, task in enumerate(tasks)
        },
    }


def _products(vectors: Sequence[Tensor]) -> Tensor:
    """Return the product of every two of some vectors of one length; float64 [N, N]."""
    products = torch.zeros(len(vectors), len(vectors), dtype=torch.float64)
    for parts in zip(*(torch.split(vector, _PIECE) for vector in vectors), strict=True):
        piece = torch.stack(parts).double()
        products += piece @ piece.T
    return products


def upper_layers(family: EncoderFamily, number: int) -> list[nn.Module]:
    """Return the last layers that all tasks of an encoder share.

    Raises:
        UserError: There are fewer, or none is asked for.
    """
    layers = list(family.layers)[: len(family.layers) - family.private_layers]
    if not layers:
        raise UserError(
            "--relatedness compares gradients of layers that all tasks share, and the tasks of "
            "this run have every layer for themselves (sharing.layers)"
        )
    if not 1 <= number <= len(layers):
        raise UserError(
            f"--layers {number} does not fit the encoder; accepted: 1 to {len(layers)}, the layers "
            "that all tasks share"
        )
    return layers[-number:]


def relatedness(
    model: MultiTaskModel,
    streams: Sequence[SampleStream],
    samples: int,
    layers: int,
    config: DataConfig,
    pad_id: int,
    workers: Workers,
) -> Relatedness:
    """Measure how related tasks are, by the gradients of their losses in the last layers, without
    dropout; streams: of the tasks, samples: most of each.

    Samples of documents with an even and an odd number are the halves, of all tasks alike, so that
    no document gives samples to both sides of a product.

    Raises:
        UserError: The encoder has fewer layers.
    """
    parameters = [
        parameter
        for layer in upper_layers(model.family, layers)
        for parameter in layer.parameters()
    ]
    compared = [(stream, parameters) for stream in streams]
    found = cosines(task_gradients(model, compared, samples, config, pad_id, workers))
    used = {stream.instance.name: min(samples, len(stream)) for stream in streams}
    return {"layers": layers, "samples": samples, "used": used, **found}


def task_gradients(
    model: MultiTaskModel,
    compared: Sequence[tuple[SampleStream, Sequence[nn.Parameter]]],
    samples: int,
    config: DataConfig,
    pad_id: int,
    workers: Workers,
) -> dict[str, Halves]:
    """Return of each task the gradient of its loss on two halves of its samples, without dropout,
    the same on every worker.

    compared: the samples of each task, and the parameters whose gradient is taken; samples: most of
    each task.
    """

    def gradient(
        stream: SampleStream, parameters: Sequence[nn.Parameter], numbers: Sequence[int]
    ) -> Tensor:
        batches = list(batches_of(stream, numbers, config, pad_id))
        return _gradient(model, stream.instance, batches, parameters, workers)

    with _only_these_learn(model, [parameter for _, some in compared for parameter in some]):
        return {
            stream.instance.name: Halves(
                *(gradient(stream, parameters, half) for half in _halves(stream, samples))
            )
            for stream, parameters in compared
        }


def _halves(stream: SampleStream, samples: int) -> tuple[list[int], list[int]]:
    """Return the numbers of the first samples, divided by the number of their document."""
    halves: tuple[list[int], list[int]] = ([], [])
    for number in range(min(samples, len(stream))):
        halves[stream.corpus.document_at(stream.place(number)[0]) % 2].append(number)
    return halves


@contextmanager
def _only_these_learn(model: MultiTaskModel, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Turn dropout off, and leave gradients to some parameters alone."""
    training = model.training
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    model.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)
        model.train(training)


def _gradient(
    model: MultiTaskModel,
    instance: TaskInstance,
    batches: Sequence[Batch],
    parameters: Sequence[nn.Parameter],
    workers: Workers,
) -> Tensor:
    """Return the gradient of a task's loss, the sum over its heads of weight x mean over labels;
    float32 [P], in the memory of the machine.
    """
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    for name, spec in instance.heads.items():
        labelled = [batch for batch in batches if batch.targets[name].tasks[0] >= 0]
        labels = sum(len(batch.targets[name].labels) for batch in labelled)
        # Workers share the batches; each knows how many labels there are in all.
        for batch in labelled[workers.rank :: workers.count]:
            moved = model.on_device(batch, workers.device)
            with workers.autocast():
                scores = model.head_scores(moved, name)
            losses, _ = head_kind(spec.kind).losses_and_hits(scores, moved.targets[name].labels)
            loss = losses.sum() * (spec.weight / labels)
            # A head may read below these layers.
            if loss.requires_grad:
                found = torch.autograd.grad(loss, parameters, allow_unused=True)
                for total, part in zip(sums, found, strict=True):
                    if part is not None:
                        total += part
    flat = torch.cat([total.flatten() for total in sums]).float()
    return workers.sum(flat).cpu()
