"""Intervals of differences hold the true difference, and pairing makes them narrow."""

import sys

import numpy as np
import pytest

from ernie_cmtl.errors import UserError
from ernie_cmtl.evaluation.intervals import (
    correlation_difference,
    mean_interval,
    paired_difference,
    paired_shares,
)


def test_differences_are_those_of_seeds_that_both_have() -> None:
    # Differences 0.1, 0.2, 0.15: mean 0.15, deviation 0.05, and 4.3027 x 0.05 / sqrt 3 = 0.1242.
    found = paired_difference({1: 0.5, 2: 0.7, 3: 0.6, 4: 9}, {1: 0.4, 2: 0.5, 3: 0.45, 5: 9})
    assert found is not None
    assert found[0] == pytest.approx(0.15)
    assert found[1] == pytest.approx((0.0258, 0.2742), abs=1e-4)
    assert paired_difference({1: 0.5}, {2: 0.5}) is None
    assert mean_interval([0.5]) is None


def test_a_difference_of_shares_has_the_interval_of_agresti_and_min() -> None:
    # 15 gained, 5 lost, 80 alike: (15 - 5) / 102 = 0.09804, and
    # 1.96 x sqrt(21 - 100 / 102) / 102 = 0.08599.
    first = [True] * 15 + [False] * 5 + [True] * 80
    second = [False] * 15 + [True] * 5 + [True] * 80
    share, interval = paired_shares(first, second)
    assert share == pytest.approx(0.1)
    assert interval == pytest.approx((0.01205, 0.18403), abs=1e-4)
    alike, around = paired_shares([True] * 4, [True] * 4)
    assert alike == 0
    assert around is not None
    assert around[0] < -0.1
    assert around[1] > 0.1


def test_the_interval_of_paired_shares_holds_the_truth_in_95_of_100_cases() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(500):
        outcome = rng.choice(4, size=60, p=[0.55, 0.2, 0.1, 0.15])
        first, second = np.isin(outcome, (0, 1)), np.isin(outcome, (0, 2))
        _, interval = paired_shares(first.tolist(), second.tolist())
        assert interval is not None
        held += interval[0] <= 0.1 <= interval[1]
    assert 0.92 < held / 500 < 0.99


def test_a_difference_of_correlations_is_judged_on_the_same_rows() -> None:
    rng = np.random.default_rng(2)
    scores = rng.normal(size=400)
    noise = rng.normal(size=400)
    better, worse = scores + 0.8 * noise, scores + 1.2 * noise
    difference, interval = correlation_difference(better, worse, scores)
    expected = np.corrcoef(better, scores)[0, 1] - np.corrcoef(worse, scores)[0, 1]
    assert difference == pytest.approx(expected)
    assert interval is not None
    assert 0 < interval[0] < difference < interval[1]
    # Two correlations that are judged apart overlap.
    assert interval[1] - interval[0] < 0.1
    assert correlation_difference(better, worse, scores) == (difference, interval)
    assert correlation_difference(worse, worse, scores) == (0, (0, 0))


def test_without_scipy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(UserError, match=r"pip install 'ernie-cmtl\[finetune\]'"):
        mean_interval([1.0, 2.0])
