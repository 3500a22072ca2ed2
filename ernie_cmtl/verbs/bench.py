"""The verb bench: how fast a run trains here, where the time of a step goes, and what to do about
it.
"""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from ernie_cmtl.config import RunConfig
from ernie_cmtl.data.loader import StepSource, load_steps
from ernie_cmtl.errors import UserError
from ernie_cmtl.model.flops import training_flops
from ernie_cmtl.records import StepData
from ernie_cmtl.run.run import Run
from ernie_cmtl.training.clock import Clock, synchronize
from ernie_cmtl.training.device import peak_flops, peak_memory
from ernie_cmtl.training.distributed import Workers
from ernie_cmtl.training.trainer import Trainer

PHASES = ("data", "forward", "backward", "optimizer", "communication")
_PHASE_STEPS = 5


@dataclass
class _Total:
    seconds: float = 0.0
    wait: float = 0.0
    tokens: int = 0
    slots: int = 0
    samples: int = 0
    flops: int = 0
    last: deque[StepData] = field(default_factory=lambda: deque(maxlen=_PHASE_STEPS))


def bench(
    config: RunConfig, steps: int, warmup: int, peak_tflops: float | None, data_only: bool
) -> dict[str, Any]:
    """Time steps of a run without writing anything.

    peak_tflops: what the device can do; without it that of a known device, or of a large matrix
    product here. data_only: make the batches and do nothing with them.
    """
    run = Run(config)
    training = config.training
    workers = Workers(
        training.precision, reduce_precision=training.reduce_precision, sharding=training.sharding
    )
    config.check_workers(workers.count)
    ledger = run.first_ledger()
    if warmup >= run.table.steps:
        raise UserError(
            f"--warmup {warmup} leaves none of the run's {run.table.steps} steps to time"
        )
    last = min(run.table.steps, warmup + steps)
    source = run.steps_from(ledger, last, workers.rank, workers.count)
    trainer = None if data_only else _new_trainer(run, workers)
    total = _timed(source, trainer, warmup, workers)
    memory = peak_memory(workers.device)
    phases = _phases(trainer, total, workers) if trainer else {}
    # Rows fill from the first on, so that those of one worker say little of the others'.
    tokens, slots = workers.sum(
        torch.tensor([total.tokens, total.slots], device=workers.device)
    ).tolist()
    peak, known = (
        peak_flops(workers.device, workers.precision)
        if peak_tflops is None
        else (peak_tflops * 1e12, "given")
    )
    if trainer:
        trainer.release()
    workers.close()
    timed = last - warmup
    result = {
        "steps": timed,
        "workers": workers.count,
        "device": str(workers.device),
        "precision": workers.precision,
        **_rates(total, tokens, slots, timed, phases),
        "mfu": round(total.flops / total.seconds / peak, 4) if trainer else None,
        "peak_tflops": round(peak / 1e12, 4),
        "peak_tflops_from": known,
        "peak_memory_bytes": memory,
    }
    return result | {"bottleneck": bottleneck(result)}


def _new_trainer(run: Run, workers: Workers) -> Trainer:
    trainer = run.new_trainer(run.new_model(), workers)
    trainer.wrapped.train()
    return trainer


def _rates(
    total: _Total, tokens: int, slots: int, steps: int, phases: dict[str, float]
) -> dict[str, Any]:
    """Return what was done in a second, and how the seconds of a step divide."""
    return {
        "real_tokens_per_second": round(tokens / total.seconds, 1),
        "samples_per_second": round(total.samples / total.seconds, 1),
        "packing_efficiency": round(tokens / slots, 4),
        "data_wait_share": round(total.wait / total.seconds, 4),
        "step_seconds": {
            "data": round(total.wait / steps, 5),
            **phases,
            "total": round(total.seconds / steps, 5),
        },
    }


def _timed(source: StepSource, trainer: Trainer | None, warmup: int, workers: Workers) -> _Total:
    total = _Total()
    samples_before = 0
    for number, (data, waited, start) in enumerate(_waited_for(source)):
        if trainer:
            trainer.step(data, waited)
            synchronize(workers.device)
        samples, samples_before = (
            sum(data.ledger.samples) - samples_before,
            sum(data.ledger.samples),
        )
        total.last.append(data)
        if number >= warmup:
            total.seconds += time.perf_counter() - start
            total.wait += waited
            total.tokens += data.real_tokens
            total.slots += data.slots
            total.samples += samples
            if trainer:
                total.flops += sum(training_flops(trainer.model, group) for group in data.groups)
    return total


def _waited_for(source: StepSource) -> Iterator[tuple[StepData, float, float]]:
    """Yield each step's data, how long it was waited for, and since when."""
    loader = iter(load_steps(source))
    while True:
        start = time.perf_counter()
        data = next(loader, None)
        if data is None:
            return
        yield data, time.perf_counter() - start, start


def _phases(trainer: Trainer, total: _Total, workers: Workers) -> dict[str, float]:
    """Take the last steps again with a clock; what reducing the gradients adds to the backward pass
    is communication.
    """

    def seconds() -> dict[str, float]:
        trainer.timed = clock = Clock(workers.device)
        for data in total.last:
            trainer.step(data)
        return {phase: clock.seconds[phase] / len(total.last) for phase in PHASES[1:]}

    found = seconds()
    if workers.count > 1:
        workers.reduces_gradients = False
        alone = seconds()["backward"]
        found["communication"] += max(0.0, found["backward"] - alone)
        found["backward"] = min(found["backward"], alone)
    return {phase: round(value, 5) for phase, value in found.items()}


_MOVED_BY = {
    "data": "raise data.loader_workers",
    "communication": "raise data.rows, so that gradients are added up less often, or set "
    "training.reduce_precision=bf16",
    "optimizer": "steps are short beside the update of the weights: raise data.rows",
}
"""Part of a step -> the setting that makes it smaller."""


def bottleneck(result: dict[str, Any]) -> str:
    """Name the largest part of a step, and the setting that moves it."""
    seconds = result["step_seconds"]
    if "forward" not in seconds:
        return "data alone was made: compare real_tokens_per_second with that of training"
    compute = "forward and backward"
    parts = {name: seconds[name] for name in _MOVED_BY}
    parts[compute] = seconds["forward"] + seconds["backward"]
    largest = max(parts, key=parts.__getitem__)
    share = f"{largest}: {parts[largest] / seconds['total']:.0%} of a step"
    return f"{share}; {_MOVED_BY[largest] if largest != compute else _computing(result)}"


def _computing(result: dict[str, Any]) -> str:
    """Say what makes forward and backward faster."""
    if result["packing_efficiency"] < 0.93:
        empty = f"{1 - result['packing_efficiency']:.0%} of the places are empty"
        return (
            f"{empty}: raise data.row_length, with data.maximum_length as long as rows are now, or "
            "data.rows"
        )
    if result["mfu"] < 0.3:
        return (
            f"at {result['mfu']:.0%} of the peak: raise data.rows_per_group; a larger encoder "
            "fills the device better"
        )
    return f"at {result['mfu']:.0%} of the peak, close to what the device gives"
