"""Attention in pieces: outputs and gradients of each sequence by itself, whatever stands beside
it.
"""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ernie_cmtl.model.kernels import attention_by_width
from ernie_cmtl.model.kernels.attention_by_width import attend_by_width
from ernie_cmtl.model.kernels.packed_attention import PackedLayout

HEADS, SIZE, SLOTS = 3, 8, 256
STARTS, LENGTHS = np.array([0, 5, 70, 128, 192]), np.array([5, 64, 33, 64, 1])


@pytest.fixture(params=[1, 20_000, 1 << 20], ids=lambda scores: f"{scores}-scores-at-once")
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> PackedLayout:
    monkeypatch.setitem(attention_by_width._SCORES_AT_ONCE, "cpu", request.param)
    return PackedLayout(STARTS, LENGTHS, SLOTS, 128, torch.device("cpu"))


def states(dtype: torch.dtype) -> tuple[Tensor, ...]:
    chance = torch.Generator().manual_seed(1)
    return tuple(
        torch.randn(SLOTS, HEADS, SIZE, generator=chance, dtype=torch.float64).to(dtype)
        for _ in range(4)
    )


def alone(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend sequence by sequence."""
    result = torch.zeros_like(query)
    for start, length in zip(STARTS.tolist(), LENGTHS.tolist(), strict=True):
        own = [t[start : start + length].transpose(0, 1) for t in (query, key, value)]
        result[start : start + length] = functional.scaled_dot_product_attention(*own).transpose(
            0, 1
        )
    return result


def gradients(
    attended: Tensor, inputs: tuple[Tensor, ...], by_output: Tensor
) -> tuple[Tensor, ...]:
    return torch.autograd.grad(attended, inputs, by_output)


def test_outputs_and_gradients_are_those_of_each_sequence_alone(layout: PackedLayout) -> None:
    *inputs, by_output = states(torch.float64)
    given = tuple(t.requires_grad_() for t in inputs)
    found = attend_by_width(*given, layout.pieces(HEADS, torch.float64))
    expected = alone(*given)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    for gradient, other in zip(
        gradients(found, given, by_output), gradients(expected, given, by_output), strict=True
    ):
        torch.testing.assert_close(gradient, other, atol=1e-12, rtol=1e-12)
    beside = torch.ones(SLOTS, dtype=torch.bool)
    for start, length in zip(STARTS, LENGTHS, strict=True):
        beside[start : start + length] = False
    assert beside.any()
    assert not found[beside].any()


def test_bf16_is_as_near_to_the_exact_result_as_the_kernel_of_the_library(
    layout: PackedLayout,
) -> None:
    exact = alone(*states(torch.float64)[:3])
    *inputs, by_output = states(torch.bfloat16)
    given = tuple(t.requires_grad_() for t in inputs)
    found, theirs = attend_by_width(*given, layout.pieces(HEADS, torch.bfloat16)), alone(*given)

    def error(attended: Tensor) -> float:
        return float((attended.detach().double() - exact).square().mean().sqrt())

    assert error(found) < 2 * error(theirs)
    wanted = gradients(alone(*(t.double() for t in given)), given, by_output.double())
    for gradient, other in zip(gradients(found, given, by_output), wanted, strict=True):
        torch.testing.assert_close(gradient, other, atol=0.05, rtol=0.05)


def test_pieces_are_made_once_for_all_layers(layout: PackedLayout) -> None:
    assert layout.pieces(HEADS, torch.float32) is layout.pieces(HEADS, torch.float32)
    assert layout.pieces(HEADS, torch.float32)[0].mask.dtype == torch.float32


def test_a_batch_without_sequences_gives_zeros() -> None:
    empty = PackedLayout(STARTS[:0], LENGTHS[:0], SLOTS, 128, torch.device("cpu"))
    query, key, value, _ = states(torch.float32)
    assert torch.equal(
        attend_by_width(query, key, value, empty.pieces(HEADS, torch.float32)),
        torch.zeros_like(query),
    )
