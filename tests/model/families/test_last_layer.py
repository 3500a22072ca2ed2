"""The last layer at some places: the states of the whole layer, at the cost of those places."""

from collections import Counter
from typing import cast

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ernie_cmtl.config import RunConfig
from ernie_cmtl.model.flops import encoder_flops, training_flops, vocabulary_flops
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.model.read_places import ReadPlaces
from ernie_cmtl.model.tensor_batch import TensorBatch
from ernie_cmtl.records import Batch
from ernie_cmtl.run.run import Run
from tests.support.encoders import BEHIND_ATTENTION, ENCODERS, with_encoder

STAGES = {
    "masked": ["knowledge_masking"],
    "every_token_twice": ["capitalization", "token_document_relation"],
}


@pytest.fixture(params=ENCODERS)
def config(request: pytest.FixtureRequest, tiny_config: RunConfig) -> RunConfig:
    """A tiny run with an encoder of each family."""
    return with_encoder(tiny_config, request.param)


def first_batch(config: RunConfig, tasks: list[str]) -> tuple[MultiTaskModel, Batch]:
    """A model without dropout, and the first batch of a run whose tasks have equal shares."""
    settings = config.model_dump(exclude_unset=True) | {
        "stages": [{"name": "only", "budgets": dict.fromkeys(tasks, 8)}]
    }
    settings["encoder"] |= {"dropout": 0.0}
    run = Run(RunConfig.model_validate(settings))
    data = next(iter(run.steps_from(run.first_ledger(), 1, 0, 1)))
    return run.new_model(), data.groups[0]


@pytest.mark.parametrize("tasks", STAGES.values(), ids=STAGES)
def test_loss_and_gradients_are_those_of_the_whole_layer(
    config: RunConfig, tasks: list[str]
) -> None:
    model, group = first_batch(config, tasks)

    def loss_and_gradients() -> tuple[torch.Tensor, list[torch.Tensor | None]]:
        model.zero_grad(set_to_none=True)
        return train(model, group).detach(), [parameter.grad for parameter in model.parameters()]

    found = loss_and_gradients()
    compute_everywhere(model)
    torch.testing.assert_close(found, loss_and_gradients(), rtol=1e-5, atol=1e-7)


def test_masking_alone_computes_the_rest_of_the_last_layer_at_masked_places_only(
    config: RunConfig,
) -> None:
    model, group = first_batch(config, ["knowledge_masking"])
    places = []
    last, architecture = model.family.layers[-1], model.family.config.architecture
    last.get_submodule(BEHIND_ATTENTION[architecture]).register_forward_hook(
        lambda _, given, __: places.append(given[0].shape)
    )
    train(model, group)
    labels = read_places(group)
    assert 0 < labels < 0.3 * group.token_ids.size
    assert places == [(1, labels, model.family.hidden_size)]


def test_what_is_saved_is_not_counted_as_done(config: RunConfig) -> None:
    model, group = first_batch(config, ["knowledge_masking"])
    assert group.sequence_lengths.sum() == group.token_ids.size, "all places are of real tokens"
    config = model.family.config
    layers = encoder_flops(
        config,
        model.family.weights_of_layer(config),
        Counter(group.sequence_lengths.tolist()),
    )
    everything = layers + read_places(group) * vocabulary_flops(
        config.hidden_size, model.family.vocabulary_size
    )
    read = operations(model, group)
    compute_everywhere(model)
    assert 0 < everything - training_flops(model, group) == operations(model, group) - read


def train(model: MultiTaskModel, group: Batch) -> torch.Tensor:
    loss, _ = model(
        TensorBatch.of(group, torch.device("cpu")), torch.ones(len(model.specs), model.tasks + 1)
    )
    loss.backward()
    return cast(torch.Tensor, loss)


def operations(model: MultiTaskModel, group: Batch) -> int:
    """What torch counts, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        train(model, group)
    return counter.get_total_flops()


def read_places(group: Batch) -> int:
    return sum(targets.positions.size for targets in group.targets.values())


def compute_everywhere(model: MultiTaskModel) -> None:
    """Let the last layer compute all places and pick afterwards."""
    last = model.family.layers[-1]

    def whole(
        states: torch.Tensor, *arguments: object, read: ReadPlaces, **keywords: object
    ) -> torch.Tensor:
        return read.of(type(last).forward(last, states, *arguments, **keywords))

    last.forward = whole
