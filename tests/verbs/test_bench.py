"""A measurement says what a run does: its tokens, its rows and its time agree with one another."""

import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from ernie_cmtl.config import RunConfig
from ernie_cmtl.errors import UserError
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.records import StepData
from ernie_cmtl.run.run import Run
from ernie_cmtl.training.optimizer import Optimizers
from ernie_cmtl.verbs.bench import bench, bottleneck
from tests.support.workers import together

STEPS, WARMUP = 4, 2
DOCUMENTED = {
    *(
        "real_tokens_per_second",
        "mfu",
        "packing_efficiency",
        "data_wait_share",
        "step_seconds",
        "peak_memory_bytes",
    ),
    *(
        "steps",
        "workers",
        "device",
        "precision",
        "samples_per_second",
        "bottleneck",
        "peak_tflops",
        "peak_tflops_from",
    ),
}


def timed_steps(config: RunConfig) -> list[StepData]:
    run = Run(config)
    return list(
        islice(run.steps_from(run.first_ledger(), run.table.steps, 0, 1), WARMUP, WARMUP + STEPS)
    )


def seconds_of(result: dict[str, Any]) -> float:
    return STEPS * float(result["step_seconds"]["total"])


@pytest.mark.parametrize("data_only", [False, True])
def test_rates_times_and_counts_agree_with_the_steps_of_the_run(
    tiny_config: RunConfig, data_only: bool
) -> None:
    result = bench(tiny_config, STEPS, WARMUP, None, data_only)
    steps = timed_steps(tiny_config)
    real = sum(int(group.sequence_lengths.sum()) for step in steps for group in step.groups)
    samples = sum(len(group.sequence_lengths) for step in steps for group in step.groups)
    assert set(result) == DOCUMENTED
    assert (result["steps"], result["workers"], result["precision"]) == (STEPS, 1, "fp32")
    # Seconds are given to 10 microseconds a step.
    rounding = 0.02 if data_only else 0.005
    assert result["real_tokens_per_second"] * seconds_of(result) == pytest.approx(
        real, rel=rounding
    )
    assert result["samples_per_second"] * seconds_of(result) == pytest.approx(samples, rel=rounding)
    assert result["packing_efficiency"] == pytest.approx(real / (STEPS * 8 * 64), abs=1e-4)
    share = STEPS * result["step_seconds"]["data"] / seconds_of(result)
    assert result["data_wait_share"] == pytest.approx(share, abs=rounding)
    assert result["peak_memory_bytes"] > 50 << 20


def packing(config: RunConfig) -> float:
    return float(bench(config, STEPS, WARMUP, None, data_only=True)["packing_efficiency"])


def test_packing_is_that_of_all_workers(tiny_config: RunConfig, tmp_path: Path) -> None:
    steps = timed_steps(tiny_config)
    real = [
        sum(int(group.sequence_lengths.sum()) for step in steps for group in step.groups[rank::2])
        for rank in range(2)
    ]
    assert real[0] != real[1]
    found = together(packing, tiny_config, folder=tmp_path)
    assert found == pytest.approx([sum(real) / (STEPS * 8 * 64)] * 2, abs=1e-4)


def test_making_batches_alone_waits_for_nothing_else(tiny_config: RunConfig) -> None:
    result = bench(tiny_config, STEPS, WARMUP, 1.0, data_only=True)
    assert result["data_wait_share"] > 0.5
    assert result["mfu"] is None


def test_mfu_is_measured_against_the_peak_that_is_given(tiny_config: RunConfig) -> None:
    peak_tflops = 1e-3
    result = bench(tiny_config, STEPS, WARMUP, peak_tflops, data_only=False)
    layers, hidden, inner, vocabulary = 2, 32, 128, 2000
    dense = layers * (4 * hidden * hidden + 2 * hidden * inner)
    # A step whose tokens all go through the layers, without attention and heads; and with far more
    # of both than there are.
    real = sum(step.real_tokens for step in timed_steps(tiny_config))
    least, most = (
        6 * dense * real,
        6 * (dense + hidden * (hidden + vocabulary) + 2 * layers * hidden * 64) * real,
    )
    done = result["mfu"] * peak_tflops * 1e12 * seconds_of(result)
    assert least < done < most


def test_without_a_peak_the_mfu_is_measured_against_a_large_product(tiny_config: RunConfig) -> None:
    result = bench(tiny_config, STEPS, WARMUP, None, data_only=False)
    assert result["peak_tflops_from"] == "measured"
    # One core does more than 1 and less than 1,000 operations a nanosecond; so small an encoder
    # reaches little of that.
    assert 1e-3 < result["peak_tflops"] < 1
    assert 0 < result["mfu"] < 0.5


def test_the_phases_of_a_step_come_to_its_time(
    tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = {"forward": 0.02, "backward": 0.03, "optimizer": 0.05}
    forward, backward, step_unless = MultiTaskModel.forward, Tensor.backward, Optimizers.step_unless

    def slow_forward(*args: Any) -> Any:
        time.sleep(slow["forward"])
        return forward(*args)

    def slow_backward(*args: Any) -> None:
        time.sleep(slow["backward"])
        backward(*args)

    def slow_update(*args: Any) -> None:
        time.sleep(slow["optimizer"])
        step_unless(*args)

    monkeypatch.setattr(MultiTaskModel, "forward", slow_forward)
    monkeypatch.setattr(Tensor, "backward", slow_backward)
    monkeypatch.setattr(Optimizers, "step_unless", slow_update)
    found = bench(tiny_config, STEPS, WARMUP, None, data_only=False)["step_seconds"]
    groups = tiny_config.data.groups
    for phase, seconds in slow.items():
        least = seconds * (1 if phase == "optimizer" else groups)
        assert least < found[phase]
    assert found["communication"] < found["forward"]
    assert sum(slow[phase] for phase in slow) < found["total"]


SECONDS = {
    "data": 0.01,
    "forward": 0.4,
    "backward": 0.5,
    "optimizer": 0.05,
    "communication": 0.04,
    "total": 1.0,
}
RESULT: dict[str, Any] = {
    "step_seconds": SECONDS,
    "data_wait_share": 0.01,
    "packing_efficiency": 0.98,
    "mfu": 0.4,
}


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({}, "close"),
        ({"mfu": 0.1}, "rows_per_group"),
        # What is not the largest part holds nothing back, however long it is waited for.
        ({"step_seconds": SECONDS | {"data": 0.3}}, "forward and backward: 90% of a step; at 40%"),
        ({"step_seconds": SECONDS | {"data": 1.0, "total": 2.0}}, "data: 50% of a step; raise"),
        ({"step_seconds": SECONDS | {"data": 1.0}}, "data.loader_workers"),
        ({"packing_efficiency": 0.8}, "row_length"),
        ({"step_seconds": SECONDS | {"communication": 1.0}}, "reduce_precision"),
        ({"step_seconds": SECONDS | {"optimizer": 1.0}}, "data.rows"),
        ({"step_seconds": {"data": 1.0, "total": 1.0}}, "data alone"),
    ],
)
def test_the_bottleneck_is_named_with_the_setting_that_moves_it(
    changed: dict[str, Any], word: str
) -> None:
    assert word in bottleneck(RESULT | changed)


def test_a_measurement_writes_nothing(tiny_config: RunConfig) -> None:
    bench(tiny_config, 1, 0, None, data_only=False)
    assert not tiny_config.run.exists()


def test_a_measurement_ends_with_the_run(tiny_config: RunConfig) -> None:
    assert bench(tiny_config, 100, 10, None, data_only=True)["steps"] == 2


@pytest.mark.parametrize("warmup", [12, 50])
def test_a_run_that_ends_before_the_first_timed_step_is_refused(
    tiny_config: RunConfig, warmup: int
) -> None:
    with pytest.raises(UserError, match="12"):
        bench(tiny_config, 2, warmup, None, data_only=True)
