"""Dropout by bits: its rate, its scale, its gradient, and that the seed alone decides."""

import pytest
import torch
from torch import nn

from ernie_cmtl.config import RunConfig
from ernie_cmtl.model.kernels.dropout import Dropout
from ernie_cmtl.run.run import Run


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_rate_and_the_scale_are_those_asked_for(rate: float) -> None:
    torch.manual_seed(1)
    dropped = Dropout(rate)(torch.ones(1000, 999))
    kept = dropped[dropped != 0]
    share = 1 - len(kept) / dropped.numel()
    # Five standard errors.
    assert share == pytest.approx(rate, abs=5 * (rate * (1 - rate) / dropped.numel()) ** 0.5)
    assert len(kept.unique()) == 1
    assert float(kept[0]) == pytest.approx(1 / (1 - rate), rel=1e-4 / (1 - rate))


def test_places_are_drawn_apart_from_each_other() -> None:
    torch.manual_seed(1)
    kept = (Dropout(0.5)(torch.ones(64, 4096)) != 0).double()
    # Also places that come from one draw.
    for shift in (1, 2, 3, 4, 64):
        both = torch.corrcoef(torch.stack([kept[:, :-shift].flatten(), kept[:, shift:].flatten()]))[
            0, 1
        ]
        assert abs(float(both)) < 0.01


def test_the_gradient_goes_where_the_values_went() -> None:
    torch.manual_seed(1)
    states = torch.ones(5, 7, 3, requires_grad=True)
    dropped = Dropout(0.3)(states)
    dropped.sum().backward()
    assert torch.equal(states.grad, dropped.detach())  # type: ignore[arg-type]


def test_the_seed_decides_and_the_threads_do_not() -> None:
    def drawn(seed: int, threads: int) -> torch.Tensor:
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        return Dropout(0.1)(torch.ones(300, 1024))

    before = torch.get_num_threads()
    try:
        assert torch.equal(drawn(1, 1), drawn(1, 2))
        assert not torch.equal(drawn(1, 1), drawn(2, 1))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("module", [Dropout(0.5).eval(), Dropout(0.0)])
def test_nothing_is_dropped_in_evaluation_or_at_rate_zero(module: Dropout) -> None:
    states = torch.randn(4, 5)
    assert torch.equal(module(states), states)


def test_other_precisions_stay_what_they_are() -> None:
    for dtype in (torch.float64, torch.bfloat16):
        assert Dropout(0.1)(torch.ones(8, 8, dtype=dtype)).dtype == dtype


def test_every_dropout_of_a_model_is_this_one(tiny_config: RunConfig) -> None:
    found = [
        module
        for module in Run(tiny_config).new_model().modules()
        if isinstance(module, nn.Dropout)
    ]
    assert len(found) > 5
    # Attention has a rate of zero and reads it only.
    assert {module.p for module in found if type(module) is not Dropout} <= {0.0}
