"""Losses of every kind of head, re-derived by hand, and heads that read an inner layer."""

from dataclasses import replace

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.head_kinds import head_kind
from ernie_cmtl.model.multitask import HITS, LABELS, LOSS, MultiTaskModel
from ernie_cmtl.model.tensor_batch import TensorBatch
from ernie_cmtl.task import HeadSpec
from tests.support.encoders import BEHIND_ATTENTION
from tests.support.heads import KINDS, every_kind


@pytest.fixture
def scored(english: Corpus) -> tuple[MultiTaskModel, TensorBatch]:
    return every_kind(english)


@pytest.fixture(params=["learned", "rotary", "modernbert_windows"])
def either(request: pytest.FixtureRequest, english: Corpus) -> tuple[MultiTaskModel, TensorBatch]:
    return every_kind(english, request.param)


@pytest.mark.parametrize("spec", KINDS, ids=lambda spec: spec.name)
def test_each_kind_has_the_loss_of_its_definition(
    scored: tuple[MultiTaskModel, TensorBatch], spec: HeadSpec
) -> None:
    model, batch = scored
    output = model.encoder(
        input_ids=batch.token_ids,
        token_type_ids=batch.token_type_ids,
        task_type_ids=batch.task_type_ids,
        position_ids=batch.position_ids,
        packed_layout=batch.layout,
        output_hidden_states=True,
    )
    name = f"every_kind/{spec.name}"
    targets = batch.targets[name]
    states = output.hidden_states[spec.encoder_layer][0][targets.positions]
    if spec.kind.startswith(("sequence", "choice")):
        states = torch.tanh(
            states @ model.encoder.pooler.dense.weight.T + model.encoder.pooler.dense.bias
        )
    head = model.heads[name].dense
    scores = (
        (states @ head.weight.T + head.bias).squeeze(0)
        if spec.kind == "choice"
        else states @ head.weight.T + head.bias
    )
    if spec.kind.endswith("regression"):
        expected = ((scores[:, 0] - targets.labels) ** 2).sum()
    else:
        scores = scores.reshape(len(targets.labels), -1)
        expected = (
            torch.logsumexp(scores, 1) - scores[torch.arange(len(scores)), targets.labels]
        ).sum()
    _, statistics = model(batch, torch.ones(len(model.specs), 2))
    row = list(model.specs).index(name)
    assert float(statistics[row, 0, LOSS]) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert int(statistics[row, 0, LABELS]) == len(targets.labels)


def test_the_loss_is_the_weighted_sum_over_heads(
    scored: tuple[MultiTaskModel, TensorBatch],
) -> None:
    model, batch = scored
    weights = torch.arange(1.0, len(model.specs) + 1)
    coefficients = torch.stack([weights, torch.zeros_like(weights)], dim=1)
    loss, statistics = model(batch, coefficients)
    assert float(loss.detach()) == pytest.approx(
        float((statistics[:, 0, LOSS] * weights).sum()), rel=1e-6
    )


def test_activations_that_are_computed_again_give_the_same_gradients_of_every_head(
    either: tuple[MultiTaskModel, TensorBatch],
) -> None:
    model, batch = either
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.2
    model.train()
    passes: list[int] = []
    part = BEHIND_ATTENTION[model.family.config.architecture]
    # Before, not behind it: what is computed again ends where nothing more is needed.
    first = model.family.layers[0].get_submodule(part)
    first.register_forward_pre_hook(lambda *_: passes.append(1))

    def gradients() -> dict[str, torch.Tensor]:
        passes.clear()
        torch.manual_seed(3)
        return loss_and_gradients(model, batch)[1]

    expected = gradients()
    assert len(passes) == 1
    model.family.recompute_activations()
    found = gradients()
    assert len(passes) == 2
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())


def test_compiled_layers_compute_the_same(either: tuple[MultiTaskModel, TensorBatch]) -> None:
    model, batch = either
    words = batch.targets["every_kind/word_class"]
    # As many places as a head has units would make the compiler take the one for the other.
    fewer = [
        replace(
            words,
            positions=words.positions[first:],
            labels=words.labels[first:],
            tasks=words.tasks[first:],
            on_host=words.on_host[first:],
        )
        for first in (1, 2)
    ]
    batches = [
        replace(batch, targets={**batch.targets, "every_kind/word_class": targets})
        for targets in fewer
    ]
    expected = [loss_and_gradients(model, one) for one in batches]
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    model.family.compile_layers(counter)
    pieces = set()
    for one, (loss, gradients) in zip(batches, expected, strict=True):
        found, compiled = loss_and_gradients(model, one)
        pieces.add(counter.frame_count)
        torch.testing.assert_close(found, loss, rtol=1e-6, atol=0)
        torch.testing.assert_close(compiled, gradients, rtol=1e-4, atol=1e-6)
    # The pieces of a layer around its attention, and those of the last one; other places to read
    # need nothing more.
    assert len(pieces) == 1
    assert 2 < pieces.pop() < 11


def loss_and_gradients(
    model: MultiTaskModel, batch: TensorBatch
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad(set_to_none=True)
    loss, _ = model(batch, torch.ones(len(model.specs), 2))
    loss.backward()
    return loss.detach(), {
        name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
    }


def test_an_idle_head_counts_nothing(scored: tuple[MultiTaskModel, TensorBatch]) -> None:
    model, batch = scored
    _, statistics = model(batch, torch.ones(len(model.specs), 2))
    row = list(model.specs).index("masked_token")
    assert float(statistics[row, 0].abs().sum()) == 0
    assert int(statistics[row, 1, LABELS]) == 1


def test_hits_are_right_predictions() -> None:
    scores = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    _, hits = head_kind("token_class").losses_and_hits(scores, torch.tensor([0, 1, 1]))
    assert hits.tolist() == [1, 1, 0]
    assert HITS == 1
