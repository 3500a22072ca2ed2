"""Packed rows compute what padded single sequences compute in the stock model."""

import numpy as np
import pytest
import torch

from ernie_cmtl.config import RunConfig
from ernie_cmtl.errors import UserError
from ernie_cmtl.model.kernels.packed_attention import PackedLayout, window_of_kernel
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.model.tensor_batch import TensorBatch
from ernie_cmtl.records import Batch
from ernie_cmtl.run.run import Run
from tests.support.encoders import ENCODERS, with_encoder

CPU = torch.device("cpu")


@pytest.fixture(params=ENCODERS)
def mixed(request: pytest.FixtureRequest, tiny_config: RunConfig) -> tuple[MultiTaskModel, Batch]:
    """A model and a group of rows in which sequences of different tasks stand together."""
    config = with_encoder(tiny_config, request.param)
    run = Run(config.model_copy(update={"stages": config.stages[1:]}))
    source = run.steps_from(run.first_ledger(), 6, 0, 1)
    groups = [group for step in source for group in step.groups]
    tasks = [{tuple(np.unique(row)) for row in group.task_type_ids} for group in groups]
    batch = next(
        group
        for group, rows in zip(groups, tasks, strict=True)
        if any(len(row) > 1 for row in rows)
    )
    return run.new_model().eval(), batch


def _padded(batch: Batch) -> tuple[dict[str, torch.Tensor], list[slice]]:
    """Return the sequences of a batch one a row, padded, for the stock model, and where each stands
    in the flattened batch.
    """
    spans = [
        slice(s, s + n) for s, n in zip(batch.sequence_starts, batch.sequence_lengths, strict=True)
    ]
    width = int(batch.sequence_lengths.max())
    columns = {
        "input_ids": batch.token_ids,
        "token_type_ids": batch.token_type_ids,
        "task_type_ids": batch.task_type_ids,
    }
    inputs = {
        name: torch.zeros(len(spans), width, dtype=torch.int64)
        for name in (*columns, "attention_mask")
    }
    for row, span in enumerate(spans):
        for name, values in columns.items():
            inputs[name][row, : span.stop - span.start] = torch.from_numpy(values.reshape(-1)[span])
        inputs["attention_mask"][row, : span.stop - span.start] = 1
    return inputs, spans


def _folds_into_words(model: MultiTaskModel) -> bool:
    stock = model.family.stock_config()
    return model.family.folds_task and not hasattr(stock, "type_vocab_size")


@torch.no_grad()
def test_packed_scores_equal_padded_scores_of_the_stock_model(
    mixed: tuple[MultiTaskModel, Batch],
) -> None:
    model, batch = mixed
    assert len({*batch.task_type_ids.reshape(-1).tolist()}) > 1
    packed = model.masked_token_scores(TensorBatch.of(batch, CPU))
    inputs, spans = _padded(batch)
    tied = _folds_into_words(model)
    tasks = inputs.pop("task_type_ids") if model.family.folds_task else inputs["task_type_ids"]
    # A stock class without tasks has one of them in its weights.
    stocks = {
        row: model.family.stock_model(model.vocabulary_head, row) for row in {*tasks[:, 0].tolist()}
    }
    for number, span in enumerate(spans):
        own = {name: values[number : number + 1] for name, values in inputs.items()}
        padded = stocks[int(tasks[number, 0])](**own).logits[0, : span.stop - span.start]
        if tied:
            # The output layer has the row too: all scores of a place move by one number.
            padded = padded + (packed[span] - padded).mean(-1, keepdim=True)
        torch.testing.assert_close(packed[span], padded, atol=1e-5, rtol=0)


def test_gradients_of_packed_rows_are_those_of_the_stock_model(
    mixed: tuple[MultiTaskModel, Batch],
) -> None:
    model, batch = mixed
    # One task, whose row is in the weights of a stock class without tasks.
    batch.task_type_ids[:] = 0
    inputs, spans = _padded(batch)
    if model.family.folds_task:
        del inputs["task_type_ids"]
    stock = model.family.stock_model(model.vocabulary_head, 0)
    scores = model.masked_token_scores(TensorBatch.of(batch, CPU))
    logits = stock(**inputs).logits
    weights = torch.randn(scores.shape, generator=torch.Generator().manual_seed(0))
    # What moves all scores of a place alike has no gradient.
    weights -= weights.mean(-1, keepdim=True)
    sum((scores[span] * weights[span]).sum() for span in spans).backward()
    sum(
        (logits[row, : span.stop - span.start] * weights[span]).sum()
        for row, span in enumerate(spans)
    ).backward()
    ours = model.family.word_embeddings.grad
    theirs = stock.get_input_embeddings().weight.grad
    assert ours is not None
    # transformers keeps [PAD] without a gradient of its own.
    rows = torch.arange(len(ours)) != stock.config.pad_token_id
    difference = (ours - theirs)[rows].norm() / theirs[rows].norm()
    assert float(difference) < 1e-5


@torch.no_grad()
def test_a_sequence_does_not_see_its_neighbours(mixed: tuple[MultiTaskModel, Batch]) -> None:
    model, batch = mixed
    start, length = int(batch.sequence_starts[0]), int(batch.sequence_lengths[0])
    before = model.masked_token_scores(TensorBatch.of(batch, CPU))
    others = np.ones(batch.token_ids.size, dtype=bool)
    others[start : start + length] = False
    batch.token_ids.reshape(-1)[others] = 7
    after = model.masked_token_scores(TensorBatch.of(batch, CPU))
    assert torch.equal(before[start : start + length], after[start : start + length])
    assert not torch.equal(before[others], after[others])


def test_the_kernel_boundaries_cover_every_place_once() -> None:
    starts, lengths = np.array([0, 5, 16, 20]), np.array([5, 4, 4, 10])
    layout = PackedLayout(starts, lengths, 32, 16, CPU)
    # Two rows of 16: two sequences and a tail, two sequences and a tail.
    assert layout.boundaries.tolist() == [0, 5, 9, 16, 20, 30, 32]
    covered = torch.cat([group.places[group.real] for group in layout.groups])
    assert sorted(covered.tolist()) == [*range(9), *range(16, 30)]


def test_a_kernel_without_windows_is_refused_where_one_is_asked_for() -> None:
    def older(query: object, key: object, scale: float | None = None) -> None: ...

    def newer(query: object, window_size: tuple[int, int] = (-1, -1)) -> None: ...

    assert window_of_kernel(older, None) == {}
    assert window_of_kernel(newer, 4) == {"window_size": (4, 4)}
    with pytest.raises(UserError, match=r"needs a newer torch on a GPU.*leave local_attention out"):
        window_of_kernel(older, 4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.no_grad()
def test_the_gpu_kernel_agrees_with_plain_torch(mixed: tuple[MultiTaskModel, Batch]) -> None:
    model, batch = mixed
    plain = model.masked_token_scores(TensorBatch.of(batch, CPU))
    device = torch.device("cuda")
    with torch.autocast("cuda", torch.bfloat16):
        fast = model.to(device).masked_token_scores(TensorBatch.of(batch, device)).float().cpu()
    real = np.concatenate(
        [
            np.arange(s, s + n)
            for s, n in zip(batch.sequence_starts, batch.sequence_lengths, strict=True)
        ]
    )
    torch.testing.assert_close(fast[real], plain[real], atol=0.05, rtol=0.05)
