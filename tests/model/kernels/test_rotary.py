"""Rotary positions turn as transformers does, and their gradient is its gradient."""

import pytest
import torch
from transformers.models.jina_embeddings_v3.modeling_jina_embeddings_v3 import apply_rotary_pos_emb

from ernie_cmtl.model.kernels.rotary import NoPositions, RotaryTable

PLACES, HEADS, SIZE, BASE = 12, 3, 8, 500.0
POSITIONS = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, 0, 30, 31, 7])


def theirs(states: torch.Tensor) -> torch.Tensor:
    inverse = 1.0 / (BASE ** (torch.arange(0, SIZE, 2).float() / SIZE))
    angles = torch.cat([POSITIONS[:, None].float() * inverse] * 2, -1)
    rows = states.transpose(0, 1)[None]
    turned, _ = apply_rotary_pos_emb(
        rows, rows, angles.cos().to(states.dtype)[None], angles.sin().to(states.dtype)[None]
    )
    return turned[0].transpose(0, 1)


def ours(states: torch.Tensor) -> torch.Tensor:
    return RotaryTable(SIZE, BASE, 32).at(POSITIONS).turn(states)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_turning_and_its_gradient_are_those_of_transformers(
    dtype: torch.dtype, close: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    states, above = (torch.randn(PLACES, HEADS, SIZE, generator=generator) for _ in range(2))
    first, second = (states.to(dtype).requires_grad_() for _ in range(2))
    found, expected = ours(first), theirs(second)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected, atol=close, rtol=0)
    found.backward(above.to(dtype))
    expected.backward(above.to(dtype))
    torch.testing.assert_close(first.grad, second.grad, atol=close, rtol=0)


def test_only_the_distance_of_two_places_counts() -> None:
    query, key = torch.randn(1, 1, SIZE), torch.randn(1, 1, SIZE)
    table = RotaryTable(SIZE, BASE, 32)

    def score(first: int, second: int) -> float:
        turned = [
            table.at(torch.tensor([place])).turn(states)
            for place, states in ((first, query), (second, key))
        ]
        return float((turned[0] * turned[1]).sum())

    assert score(9, 4) == pytest.approx(score(25, 20), abs=1e-5)
    assert score(9, 4) != pytest.approx(score(9, 5), abs=1e-3)


def test_position_zero_stays() -> None:
    states = torch.randn(1, HEADS, SIZE)
    assert torch.equal(RotaryTable(SIZE, BASE, 4).at(torch.zeros(1).long()).turn(states), states)


def test_a_position_beyond_the_table_is_an_error() -> None:
    with pytest.raises(IndexError):
        RotaryTable(SIZE, BASE, 31).at(POSITIONS)


def test_nothing_is_added_where_positions_were() -> None:
    states = torch.randn(2, 3, 4)
    assert torch.equal(states + NoPositions()(torch.zeros(2, 3).long()), states)
