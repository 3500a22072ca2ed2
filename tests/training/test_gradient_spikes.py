"""A step is skipped where its gradient norm is far above those of the steps before it that were
taken.
"""

import math

import numpy as np
import pytest
import torch

from ernie_cmtl.training.gradient_spikes import Spikes

CPU = torch.device("cpu")


def expected(norms: list[float], window: int, sigma: float, starts: set[int]) -> list[bool]:
    """The rule, number by number."""
    taken: list[float] = []
    skipped = []
    for step, norm in enumerate(norms):
        if step in starts:
            taken = []
        last = taken[-window:]
        spike = len(last) == window and norm > np.mean(last) + sigma * np.std(last)
        skipped.append(bool(spike or not math.isfinite(norm)))
        if not skipped[-1]:
            taken.append(norm)
    return skipped


def judged(spikes: Spikes, norms: list[float], first: int = 0) -> list[bool]:
    numbers = torch.tensor(norms)
    return [
        bool(spikes.skips(first + step, norm, ~norm.isfinite()))
        for step, norm in enumerate(numbers)
    ]


@pytest.fixture(scope="module")
def norms() -> list[float]:
    rng = np.random.default_rng(0)
    values = rng.gamma(9.0, 0.2, 400).astype(np.float32)
    values[rng.choice(400, 30, replace=False)] *= 8
    values[[50, 51, 200]] = [np.nan, np.inf, np.nan]
    return [float(value) for value in values]


@pytest.mark.parametrize(("window", "sigma"), [(4, 3.0), (16, 2.0), (64, 6.0)])
def test_steps_are_judged_by_the_last_ones_that_were_taken_in_their_stage(
    norms: list[float], window: int, sigma: float
) -> None:
    found = judged(Spikes(window, sigma, (100, 300), CPU), norms)
    assert found == expected(norms, window, sigma, {100, 300})
    assert 3 < sum(found) < 200
    assert not any(found[300 : 300 + window])


def test_no_step_is_judged_before_the_window_is_full() -> None:
    assert judged(Spikes(4, 1.0, (), CPU), [1.0, 1e9, 1.0, 1e9, 1e12]) == [False] * 4 + [True]


@pytest.mark.parametrize("cut", [0, 3, 20, 101, 350])
def test_what_was_saved_goes_on_as_if_it_had_never_stopped(norms: list[float], cut: int) -> None:
    whole, first, second = (Spikes(16, 2.0, (100, 300), CPU) for _ in range(3))
    found = judged(first, norms[:cut])
    second.load(first.state())
    assert found + judged(second, norms[cut:], cut) == judged(whole, norms)
    assert second.state() == whole.state()


def test_a_window_of_another_size_takes_over_the_newest_norms(norms: list[float]) -> None:
    spikes, shorter, longer = (Spikes(window, 6.0, (), CPU) for window in (8, 4, 16))
    judged(spikes, norms[:30])
    shorter.load(spikes.state())
    longer.load(spikes.state())
    assert shorter.state() == spikes.state()[-4:]
    assert longer.state() == spikes.state()
