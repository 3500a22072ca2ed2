"""Cross entropy over a vocabulary in pieces: the losses, hits and gradients of the plain one."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ernie_cmtl.model.kernels import cross_entropy
from ernie_cmtl.model.kernels.cross_entropy import vocabulary_cross_entropy

LABELS, HIDDEN, VOCABULARY = 23, 7, 90
Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def inputs(dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Inputs:
    chance = torch.Generator().manual_seed(1)
    states, embeddings, bias = (
        (scale * torch.randn(size, generator=chance, dtype=dtype)).requires_grad_()
        for size in ((LABELS, HIDDEN), (VOCABULARY, HIDDEN), (VOCABULARY,))
    )
    weights = torch.rand(LABELS, generator=chance, dtype=dtype)
    # A head without labels in a batch still runs, on a place that weighs nothing.
    weights[3] = 0.0
    return states, embeddings, bias, torch.randint(VOCABULARY, (LABELS,), generator=chance), weights


def plain(
    states: Tensor, embeddings: Tensor, bias: Tensor, labels: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    scores = functional.linear(states, embeddings, bias)
    losses = functional.cross_entropy(scores, labels, reduction="none")
    return (losses * weights).sum(), losses, scores.argmax(-1) == labels


@pytest.fixture(params=[1, 5, 1000], ids=lambda rows: f"{rows}-at-once")
def rows_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setitem(
        cross_entropy._BYTES_AT_ONCE, "cpu", request.param * VOCABULARY * torch.float64.itemsize
    )
    return int(request.param)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_losses_hits_and_gradients_are_those_of_the_plain_function(
    rows_at_once: int, scale: float
) -> None:
    given = inputs(scale=scale)
    found, expected = vocabulary_cross_entropy(*given), plain(*given)
    torch.testing.assert_close(found[1], expected[1].detach(), atol=1e-12, rtol=1e-12)
    assert torch.equal(found[2].bool(), expected[2])
    torch.testing.assert_close(found[0], expected[0], atol=1e-12, rtol=1e-12)
    wanted = torch.autograd.grad(3 * expected[0], given[:3])
    for gradient, other in zip(torch.autograd.grad(3 * found[0], given[:3]), wanted, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-12, rtol=1e-10)
    assert float(wanted[1].abs().max()) > 0.1


def test_some_guesses_hit() -> None:
    states, embeddings, bias, _, weights = inputs()
    best = functional.linear(states, embeddings, bias).argmax(-1)
    best[:4] = (best[:4] + 1) % VOCABULARY
    _, _, hits = vocabulary_cross_entropy(states, embeddings, bias, best, weights)
    assert hits.tolist() == [0.0] * 4 + [1.0] * (LABELS - 4)


def test_without_gradient_it_makes_none(rows_at_once: int) -> None:
    given = inputs()
    with torch.no_grad():
        total, losses, _ = vocabulary_cross_entropy(*given)
    assert not total.requires_grad
    torch.testing.assert_close(losses, plain(*given)[1].detach())


def test_without_labels_there_is_no_gradient_to_speak_of() -> None:
    given = inputs()
    states, embeddings, bias, labels, weights = given
    total, losses, _ = vocabulary_cross_entropy(
        states[:0], embeddings, bias, labels[:0], weights[:0]
    )
    assert float(total.detach()) == len(losses) == 0
    for gradient in torch.autograd.grad(total, (embeddings, bias)):
        assert not gradient.any()


def test_autocast_computes_in_its_own_precision_and_returns_gradients_in_that_of_the_weights() -> (
    None
):
    given = inputs(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        total, losses, _ = vocabulary_cross_entropy(*given)
    exact = plain(*given)
    assert losses.dtype == torch.float32
    assert 0 < float((losses - exact[1]).detach().abs().max()) < 0.1
    gradients, wanted = (
        torch.autograd.grad(total, given[:3]),
        torch.autograd.grad(exact[0], given[:3]),
    )
    for gradient, other in zip(gradients, wanted, strict=True):
        assert gradient.dtype == torch.float32
        torch.testing.assert_close(gradient, other, atol=0.05, rtol=0.05)


def test_a_loss_that_is_not_finite_stays_so() -> None:
    states, embeddings, bias, labels, weights = inputs()
    with torch.no_grad():
        states[5] = torch.nan
        states[6] = torch.inf
    total, losses, _ = vocabulary_cross_entropy(states, embeddings, bias, labels, weights)
    assert (~losses.isfinite()).nonzero().flatten().tolist() == [5, 6]
    assert not total.isfinite()


def test_a_score_far_below_the_largest_has_an_exact_loss() -> None:
    states, embeddings, bias = torch.ones(1, 1), torch.tensor([[500.0], [-500.0]]), torch.zeros(2)
    _, losses, _ = vocabulary_cross_entropy(
        states, embeddings, bias, torch.tensor([1]), torch.ones(1)
    )
    assert losses.tolist() == [1000.0]


def test_a_second_backward_pass_is_refused() -> None:
    total = vocabulary_cross_entropy(*inputs())[0]
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="second"):
        total.backward()
