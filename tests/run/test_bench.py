"""A measurement says what a run does: its tokens, its rows and its time agree with one another."""

from itertools import islice
from typing import Any

import pytest

from ernie_cmtl.config import RunConfig
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import StepData
from ernie_cmtl.run.assemble import Run
from ernie_cmtl.run.bench import bench

STEPS, WARMUP = 4, 2
DOCUMENTED = {
    *("real_tokens_per_second", "mfu", "packing_efficiency", "data_wait_share", "step_seconds", "peak_memory_bytes"),
    *("steps", "workers", "device", "precision", "samples_per_second"),
}


def timed_steps(config: RunConfig) -> list[StepData]:
    run = Run(config)
    return list(islice(run.source(run.first_ledger(), run.table.steps, 0, 1), WARMUP, WARMUP + STEPS))


def seconds_of(result: dict[str, Any]) -> float:
    return STEPS * (result["step_seconds"]["data"] + result["step_seconds"]["compute"])


@pytest.mark.parametrize("data_only", [False, True])
def test_rates_times_and_counts_agree_with_the_steps_of_the_run(tiny_config: RunConfig, data_only: bool) -> None:
    result = bench(tiny_config, STEPS, WARMUP, None, data_only)
    steps = timed_steps(tiny_config)
    real = sum(int(group.sequence_lengths.sum()) for step in steps for group in step.groups)
    samples = sum(len(group.sequence_lengths) for step in steps for group in step.groups)
    assert set(result) == DOCUMENTED
    assert (result["steps"], result["workers"], result["precision"], result["mfu"]) == (STEPS, 1, "fp32", None)
    # Seconds are given to 10 microseconds a step.
    rounding = 0.02 if data_only else 0.005
    assert result["real_tokens_per_second"] * seconds_of(result) == pytest.approx(real, rel=rounding)
    assert result["samples_per_second"] * seconds_of(result) == pytest.approx(samples, rel=rounding)
    assert result["packing_efficiency"] == pytest.approx(real / (STEPS * 8 * 64), abs=1e-4)
    share = STEPS * result["step_seconds"]["data"] / seconds_of(result)
    assert result["data_wait_share"] == pytest.approx(share, abs=rounding)
    assert result["peak_memory_bytes"] > 50 << 20


def test_making_batches_alone_waits_for_nothing_else(tiny_config: RunConfig) -> None:
    result = bench(tiny_config, STEPS, WARMUP, 1.0, data_only=True)
    assert result["data_wait_share"] > 0.5
    assert result["mfu"] is None


def test_mfu_is_measured_against_the_peak_that_is_given(tiny_config: RunConfig) -> None:
    peak_tflops = 1e-3
    result = bench(tiny_config, STEPS, WARMUP, peak_tflops, data_only=False)
    layers, hidden, inner, vocabulary = 2, 32, 128, 2000
    dense = layers * (4 * hidden * hidden + 2 * hidden * inner)
    # A step whose tokens all go through the layers, without attention and heads; and with far more of both than there are.
    real = sum(step.real_tokens for step in timed_steps(tiny_config))
    least, most = 6 * dense * real, 6 * (dense + hidden * (hidden + vocabulary) + 2 * layers * hidden * 64) * real
    done = result["mfu"] * peak_tflops * 1e12 * seconds_of(result)
    assert least < done < most


def test_a_measurement_writes_nothing(tiny_config: RunConfig) -> None:
    bench(tiny_config, 1, 0, None, data_only=False)
    assert not tiny_config.run.exists()


def test_a_measurement_ends_with_the_run(tiny_config: RunConfig) -> None:
    assert bench(tiny_config, 100, 10, None, data_only=True)["steps"] == 2


@pytest.mark.parametrize("warmup", [12, 50])
def test_a_run_that_ends_before_the_first_timed_step_is_refused(tiny_config: RunConfig, warmup: int) -> None:
    with pytest.raises(UserError, match="12"):
        bench(tiny_config, 2, warmup, None, data_only=True)
