"""Which weights AdamW moves and which Muon, what is decayed, and that both can leave a step out."""

import copy

import pytest
import torch
from torch.optim import AdamW, Muon

from ernie_cmtl.config import RunConfig
from ernie_cmtl.errors import UserError
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.run.run import Run
from ernie_cmtl.training.optimizer import OptimizerConfig, Optimizers, build_optimizer
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.runs import Watcher, final_tensors, logged_lines, same_tensors, trace


@pytest.fixture
def model(tiny_config: RunConfig) -> MultiTaskModel:
    return Run(tiny_config).new_model()


def with_gradients(model: MultiTaskModel, optimizer: Optimizers) -> dict[str, torch.Tensor]:
    """Give every weight a gradient, except those of one head, and return the weights as they
    are.
    """
    chance = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "capitalization" not in name:
            parameter.grad = torch.randn(parameter.shape, generator=chance)
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_muon_moves_the_matrices_of_the_layers_and_adamw_all_else(model: MultiTaskModel) -> None:
    optimizer = build_optimizer(
        model,
        OptimizerConfig(kind="muon", learning_rate=0.01),
        model.family.norms,
        model.family.matrices,
    )
    adamw, muon = optimizer.parts
    assert isinstance(adamw, AdamW)
    assert isinstance(muon, Muon)
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {names[parameter] for group in muon.param_groups for parameter in group["params"]}
    # Query, key, value and output of attention, and the two matrices behind it.
    assert len(found) == 6 * model.encoder.config.num_hidden_layers
    assert all(
        name.startswith("encoder.encoder.layer.")
        and name.endswith("weight")
        and "LayerNorm" not in name
        for name in found
    )
    others = {names[parameter] for group in adamw.param_groups for parameter in group["params"]}
    assert found | others == set(names.values())
    assert not found & others
    # Not decayed: biases and layer norms, of which none is a matrix.
    decays = {
        names[p]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    assert {name for name, decay in decays.items() if not decay} == {
        n for n in decays if n.endswith("bias") or "LayerNorm" in n
    }


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_step_moves_what_has_a_gradient_and_a_skipped_one_nothing(
    model: MultiTaskModel, kind: str
) -> None:
    optimizer = build_optimizer(
        model,
        OptimizerConfig.model_validate({"kind": kind, "learning_rate": 0.01}),
        model.family.norms,
        model.family.matrices,
    )
    before = with_gradients(model, optimizer)
    optimizer.step_unless(torch.tensor(False))
    moved = {
        name
        for name, parameter in model.named_parameters()
        if not torch.equal(parameter, before[name])
    }
    assert moved == {name for name in before if "capitalization" not in name}
    before = with_gradients(model, optimizer)
    moments = copy.deepcopy(list(optimizer.state.values()))
    optimizer.step_unless(torch.tensor(True))
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    for now, then in zip(optimizer.state.values(), moments, strict=True):
        assert all(
            torch.equal(torch.as_tensor(now[entry]), torch.as_tensor(then[entry])) for entry in then
        )


def test_an_update_of_muon_is_orthogonal_and_as_large_as_one_of_adamw(
    model: MultiTaskModel,
) -> None:
    rate = 0.01
    optimizer = build_optimizer(
        model,
        OptimizerConfig(kind="muon", learning_rate=rate, weight_decay=0.0),
        model.family.norms,
        model.family.matrices,
    )
    before = with_gradients(model, optimizer)
    optimizer.step_unless(torch.tensor(False))
    name = "encoder.encoder.layer.0.intermediate.dense.weight"
    update = (before[name] - model.get_parameter(name).detach()) / rate
    size = update.square().mean().sqrt()
    assert 0.1 < float(size) < 0.3
    values = torch.linalg.svdvals(update)
    # Five steps of Newton and Schulz, in bf16, come near to one value for all directions.
    assert float(values.max() / values.min()) < 3
    assert float(torch.linalg.svdvals(torch.randn(update.shape)).max()) > 3 * float(values.max())


def muon(config: RunConfig, **others: object) -> RunConfig:
    return config.model_copy(
        update={"optimizer": config.optimizer.model_copy(update={"kind": "muon"}), **others}
    )


def test_a_run_with_muon_learns_and_goes_on_bit_equal(tiny_config: RunConfig) -> None:
    whole = muon(tiny_config, run=tiny_config.run / "whole")
    pretrain(whole, Watcher())
    losses = [line["loss"] for line in logged_lines(whole.run)]
    assert losses[4] < losses[0] - 0.1
    broken = muon(tiny_config, run=tiny_config.run / "broken")
    with pytest.raises(KeyboardInterrupt):
        pretrain(broken, Watcher(crash_at=9))
    pretrain(broken, Watcher())
    assert trace(broken.run) == trace(whole.run)
    assert same_tensors(final_tensors(broken.run), final_tensors(whole.run))
    # What AdamW would make of the momentum of Muon nobody knows.
    with pytest.raises(UserError, match=r"optimizer\.kind \('?muon'?, now '?adamw'?\)"):
        pretrain(tiny_config.model_copy(update={"run": broken.run}), Watcher())
