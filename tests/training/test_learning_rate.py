"""The learning rate: its peak, its ends, no jumps, and the dips at later stages."""

import math
from itertools import accumulate, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ernie_cmtl.training.learning_rate import LearningRateConfig, learning_rate, pinned_steps

SCHEDULES = ("linear", "cosine", "wsd", "noam", "constant")


def rates(steps: int, **options: Any) -> list[float]:
    config = LearningRateConfig(**({"learning_rate": 1.0} | options))
    return [learning_rate(step, (steps,), config) for step in range(steps + 1)]


def test_linear_warms_up_and_decays_linearly():
    found = rates(14, warmup_steps=4, final_fraction=0.1)
    assert found[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert found[9] == pytest.approx(1 - 0.9 * 0.5)
    assert found[14] == pytest.approx(0.1)


def test_cosine_is_half_way_down_in_the_middle_and_flat_at_its_ends():
    found = rates(204, schedule="cosine", warmup_steps=4, final_fraction=0.2)
    assert found[104] == pytest.approx(0.6)
    assert found[54] == pytest.approx(0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2)
    assert found[4] - found[5] < 1e-3
    assert found[203] - found[204] < 1e-3


def test_wsd_is_flat_until_its_last_part():
    found = rates(100, schedule="wsd", warmup_steps=10, decay_fraction=0.2, final_fraction=0.1)
    assert found[9:81] == [1.0] * 72
    assert found[90] == pytest.approx(0.55)
    assert found[100] == pytest.approx(0.1)


def test_noam_is_the_formula_of_ernie_with_its_peak_at_the_given_rate():
    warmup, peak = 50, 3e-4
    model_size = 1 / (warmup * peak**2)
    found = rates(400, schedule="noam", warmup_steps=warmup, learning_rate=peak)
    expected = [model_size**-0.5 * min(n**-0.5, n * warmup**-1.5) for n in range(1, 402)]
    assert found == pytest.approx(expected)
    assert max(found) == found[warmup - 1] == pytest.approx(peak)


def test_constant_stays_at_its_peak():
    assert rates(10, schedule="constant", warmup_steps=2) == [0.5, *[1.0] * 10]


@settings(max_examples=150, deadline=None)
@given(
    schedule=st.sampled_from(SCHEDULES),
    steps=st.integers(20, 400),
    warmup=st.integers(1, 15),
    final=st.floats(0, 1),
    decay=st.floats(0.2, 1),
)
def test_every_schedule_climbs_to_its_peak_and_comes_down_without_a_jump(
    schedule, steps, warmup, final, decay
):
    found = rates(
        steps, schedule=schedule, warmup_steps=warmup, final_fraction=final, decay_fraction=decay
    )
    assert max(found) == found[warmup - 1] == 1.0
    assert all(first < second for first, second in pairwise(found[:warmup]))
    assert all(first >= second > -1e-12 for first, second in pairwise(found[warmup - 1 :]))
    # No step falls by more than one warm-up step, an even part of the decay, or the steepest place
    # of a cosine.
    decaying = steps * decay if schedule == "wsd" else steps - warmup
    steepest = max(1 / (warmup + 1), math.pi / 2 / max(1, decaying - 15))
    assert all(first - second <= steepest for first, second in pairwise(found[warmup - 1 :]))
    if schedule in ("linear", "cosine", "wsd"):
        assert found[steps] == pytest.approx(final, abs=1e-12)


def test_a_later_stage_starts_low_and_climbs_back_to_the_schedule():
    ends = (100, 200, 210, 400)
    plain = LearningRateConfig(learning_rate=1.0, warmup_steps=10, schedule="cosine")
    config = plain.model_copy(update={"rewarm_steps": 20, "rewarm_from": 0.25})
    parts = [
        learning_rate(step, ends, config) / learning_rate(step, ends, plain) for step in range(400)
    ]
    assert parts[:100] == [1.0] * 100
    for start, length in ((100, 20), (200, 10), (210, 20)):
        climb = [0.25 + 0.75 * done / 20 for done in range(length)]
        assert parts[start : start + length] == pytest.approx(climb)
    assert parts[120:200] == [1.0] * 80
    assert parts[230:] == [1.0] * 170


@settings(max_examples=100, deadline=None)
@given(
    ends=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    rewarm=st.integers(0, 80),
    low=st.floats(0.01, 1),
)
def test_rewarming_never_exceeds_the_schedule_and_leaves_the_first_stage_alone(ends, rewarm, low):
    ends = tuple(sum(ends[: number + 1]) for number in range(len(ends)))
    plain = LearningRateConfig(warmup_steps=3)
    config = plain.model_copy(update={"rewarm_steps": rewarm, "rewarm_from": low})
    for step in range(ends[-1]):
        rate, scheduled = learning_rate(step, ends, config), learning_rate(step, ends, plain)
        assert low * scheduled * (1 - 1e-9) <= rate <= scheduled
        if step < ends[0] or not rewarm:
            assert rate == scheduled


def test_the_kept_checkpoint_is_the_last_one_at_the_full_rate():
    config = LearningRateConfig(
        learning_rate=1.0, schedule="wsd", warmup_steps=5, decay_fraction=0.3
    )
    (kept,) = pinned_steps(50, config)
    found = rates(50, schedule="wsd", warmup_steps=5, decay_fraction=0.3)
    # A checkpoint at step n has seen the steps before n.
    assert kept == 35
    assert set(found[5:kept]) == {1.0}
    assert found[kept + 1] < 1
    assert all(
        not pinned_steps(50, config.model_copy(update={"schedule": other}))
        for other in SCHEDULES
        if other != "wsd"
    )


@pytest.mark.parametrize(
    ("steps", "options"), [(50, {"decay_fraction": 1.0}), (5, {"warmup_steps": 9})]
)
def test_a_run_that_decays_at_once_or_never_keeps_nothing(steps, options):
    assert not pinned_steps(steps, LearningRateConfig(schedule="wsd", **options))


@settings(max_examples=100, deadline=None)
@given(
    schedule=st.sampled_from(SCHEDULES),
    lengths=st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=3), min_size=1, max_size=4),
    rewarm=st.integers(0, 9),
)
def test_a_stage_that_restarts_the_schedule_runs_through_it_as_a_run_of_its_own(
    schedule, lengths, rewarm
):
    config = LearningRateConfig(
        schedule=schedule,
        warmup_steps=4,
        decay_fraction=0.3,
        final_fraction=0.1,
        rewarm_steps=rewarm,
    )
    ends = list(accumulate(length for part in lengths for length in part))
    *restarts, _ = accumulate(sum(part) for part in lengths)
    found = [learning_rate(step, ends, config, restarts) for step in range(ends[-1])]
    alone = [
        [learning_rate(step, list(accumulate(part)), config) for step in range(sum(part))]
        for part in lengths
    ]
    assert found == [rate for part in alone for rate in part]


def test_the_checkpoints_before_each_decay_and_before_a_restart_are_kept():
    options: dict[str, Any] = {"learning_rate": 1.0, "warmup_steps": 5}
    config = LearningRateConfig(schedule="wsd", decay_fraction=0.3, **options)
    assert pinned_steps(90, config, (50,)) == {35, 50, 50 + 28}
    assert pinned_steps(90, LearningRateConfig(**options), (50, 70)) == {50, 70}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "noam"}, "warmup_steps 0 must be at least 1"),
        ({"schedule": "cosin"}, "'linear', 'cosine', 'wsd', 'noam' or 'constant'"),
        ({"decay_fraction": 0}, "decay_fraction"),
        ({"rewarm_from": 1.5}, "rewarm_from"),
        ({"rewarm_steps": -1}, "rewarm_steps"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        LearningRateConfig(**options)
