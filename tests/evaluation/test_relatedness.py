"""Relatedness of tasks: what is planted in gradients is found, and noise is not taken for it."""

import math

import pytest
import torch

from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.data.loader import fixed_batches
from ernie_cmtl.errors import UserError
from ernie_cmtl.evaluation.relatedness import (
    RELIABLE,
    Halves,
    _gradient,
    _halves,
    cosines,
    relatedness,
)
from ernie_cmtl.run.open import score_heldout
from ernie_cmtl.run.run import Run
from ernie_cmtl.training.distributed import Workers
from tests.support.runs import make_run

SIZE = 40_000


def planted(*angles: float, noise: float, agree: bool = True) -> dict[str, Halves]:
    """Return gradients of length 1 in a plane, at some angles from the first, with noise that is
    `noise` times as long in each half.
    """
    generator = torch.Generator().manual_seed(1)
    axes = torch.linalg.qr(torch.randn(SIZE, 2, generator=generator, dtype=torch.float64))[0].T

    def half(angle: float) -> torch.Tensor:
        signal = math.cos(angle) * axes[0] + math.sin(angle) * axes[1]
        drawn = torch.randn(SIZE, generator=generator, dtype=torch.float64)
        return (signal * agree + noise * drawn / math.sqrt(SIZE)).float()

    return {f"task{n}": Halves(half(angle), half(angle)) for n, angle in enumerate((0.0, *angles))}


def test_planted_cosines_are_found_in_noise_that_hides_them_from_a_plain_cosine() -> None:
    wanted = (0.8, 0.0, -0.6)
    gradients = planted(*map(math.acos, wanted), noise=1.3)
    found = cosines(gradients)
    for number, cosine in enumerate(wanted, start=1):
        assert found["cosine"]["task0"][f"task{number}"] == pytest.approx(cosine, abs=0.05)
        assert (
            found["cosine"][f"task{number}"]["task0"] == (found["cosine"]["task0"][f"task{number}"])
        )
    # The halves agree by signal / (signal + noise).
    assert found["reliability"]["task1"] == pytest.approx(1 / (1 + 1.3**2), abs=0.02)
    whole = {name: sum(halves) for name, halves in gradients.items()}
    plain = torch.cosine_similarity(whole["task0"], whole["task1"], dim=0)
    assert float(plain) < 0.6 * wanted[0]


def test_without_noise_the_cosine_is_exact_and_never_beyond_one() -> None:
    found = cosines(planted(0.0, math.pi, math.pi / 3, noise=0.0))["cosine"]["task0"]
    assert found == pytest.approx({"task1": 1.0, "task2": -1.0, "task3": 0.5}, abs=1e-6)
    assert all(abs(value) <= 1 for value in found.values() if value is not None)


def test_pure_noise_is_unknown() -> None:
    noise = planted(0.3, noise=1.0, agree=False)
    found = cosines(noise | {"sound": planted(noise=0.1)["task0"]})
    assert abs(found["reliability"]["task0"] or 0) < 0.05
    assert found["reliability"]["sound"] > 0.9
    assert all(value is None for others in found["cosine"].values() for value in others.values())


@pytest.mark.parametrize(("noise", "known"), [(1.9, True), (2.1, False)])
def test_a_pair_is_known_where_both_halves_agree_by_more_than_the_bound(
    noise: float, known: bool
) -> None:
    # 1 / (1 + 2²) is the bound.
    assert pytest.approx(1 / (1 + 2.0**2)) == RELIABLE
    noisy = planted(0.5, noise=noise)["task1"]
    found = cosines({"clear": planted(noise=0.0)["task0"], "noisy": noisy})
    assert (found["cosine"]["clear"]["noisy"] is not None) == known


def test_a_task_without_a_gradient_has_no_reliability() -> None:
    nothing = Halves(torch.zeros(SIZE), torch.zeros(SIZE))
    found = cosines({"a": planted(noise=0.1)["task0"], "b": nothing})
    assert found["reliability"]["b"] is None
    assert found["cosine"] == {"a": {"b": None}, "b": {"a": None}}


def test_sign_and_order_are_those_of_task_affinity_by_its_definition() -> None:
    """Fifty et al. 2021: Z_ij = 1 - L_j(theta - eta g_i) / L_j(theta), what a step for task i does
    for task j.
    """
    generator = torch.Generator().manual_seed(3)
    tasks, size, eta = 5, 6, 1e-4
    theta = torch.randn(size, generator=generator, dtype=torch.float64)
    roots = torch.randn(tasks, size, size, generator=generator, dtype=torch.float64)
    centres = torch.randn(tasks, size, generator=generator, dtype=torch.float64)

    def loss(task: int, at: torch.Tensor) -> torch.Tensor:
        return ((at - centres[task]) @ roots[task]).square().sum() / 2

    def slope(task: int) -> torch.Tensor:
        at = theta.clone().requires_grad_()
        return torch.autograd.grad(loss(task, at), at)[0]

    # Each loss is scaled so that a step for one task is as long as for another.
    roots /= torch.stack([slope(task).norm().sqrt() for task in range(tasks)])[:, None, None]
    gradients = [slope(task) for task in range(tasks)]
    found = cosines({str(n): Halves(one, one) for n, one in enumerate(gradients)})["cosine"]
    signs = set()
    for j in range(tasks):
        affinity = {
            i: float(1 - loss(j, theta - eta * gradients[i]) / loss(j, theta))
            for i in range(tasks)
            if i != j
        }
        cosine = {i: found[str(i)][str(j)] for i in affinity}
        assert sorted(affinity, key=affinity.__getitem__) == sorted(cosine, key=cosine.__getitem__)
        assert all((affinity[i] > 0) == (cosine[i] > 0) for i in affinity)
        signs |= {value > 0 for value in affinity.values()}
    assert signs == {True, False}


@pytest.fixture
def run(english: Corpus) -> Run:
    return make_run(
        english,
        training={"precision": "fp32", "heldout": {"samples": 40}, "trackers": []},
        tasks={"capitalization": {"masked_tokens": True}},
    )


def test_no_document_gives_samples_to_both_halves(run: Run) -> None:
    for stream in run.streams("heldout"):
        halves = _halves(stream, 40)
        documents = [
            {stream.corpus.document_at(stream.place(number)[0]) for number in half}
            for half in halves
        ]
        assert documents[0]
        assert documents[1]
        assert not documents[0] & documents[1]
        assert sorted([*halves[0], *halves[1]]) == list(range(min(40, len(stream))))


def test_the_gradient_is_the_slope_of_the_held_out_losses_without_dropout(run: Run) -> None:
    model, workers = run.new_model().double(), Workers("fp32")
    model.train()
    streams, pad_id = run.streams("heldout"), run.corpus.vocabulary.pad_id
    parameters = list(model.family.layers[-1].parameters())

    def loss_of(number: int) -> float:
        scores = score_heldout(run, model, workers, [streams[number]])
        return sum(score["loss"] for score in scores.values())

    for number in (1, 2):
        model.eval()
        batches = [
            batch for _, batch in fixed_batches(streams[number], 40, run.config.data, pad_id)
        ]
        gradient = _gradient(model, run.instances[number], batches, parameters, workers)
        step = 1e-3 / gradient.norm()
        pieces = torch.split(gradient.double(), [parameter.numel() for parameter in parameters])
        ends = []
        for sign in (1, -2):
            with torch.no_grad():
                for parameter, piece in zip(parameters, pieces, strict=True):
                    parameter += sign * step * piece.view_as(parameter)
            ends.append(loss_of(number))
        slope = (ends[0] - ends[1]) / (2 * float(step))
        assert slope == pytest.approx(float(gradient.square().sum()), rel=1e-3)


def test_a_run_is_measured_and_its_model_left_as_it_was(run: Run) -> None:
    model, workers = run.new_model(), Workers("fp32")
    model.train()
    streams, pad_id = run.streams("heldout"), run.corpus.vocabulary.pad_id
    found, again = (
        relatedness(model, streams, 40, 1, run.config.data, pad_id, workers) for _ in range(2)
    )
    # With dropout they would differ.
    assert found == again
    assert (found["layers"], found["samples"]) == (1, 40)
    assert found["used"] == {stream.instance.name: min(40, len(stream)) for stream in streams}
    tasks = {"knowledge_masking", "capitalization", "sentence_reordering"}
    assert found["reliability"].keys() == found["cosine"].keys() == tasks
    assert all(others.keys() == tasks - {task} for task, others in found["cosine"].items())
    assert all(-1 <= value <= 1 for value in found["reliability"].values() if value is not None)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("layers", [0, 3])
def test_layers_that_the_encoder_does_not_have_are_refused(run: Run, layers: int) -> None:
    model = run.new_model()
    with pytest.raises(UserError, match=f"--layers {layers} does not fit .*; accepted: 1 to 2"):
        relatedness(model, [], 40, layers, run.config.data, 0, Workers("fp32"))
