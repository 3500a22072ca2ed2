"""The verb bench: how fast a run trains here, and how much of the time it waits for data."""

import resource
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch

from ernie_cmtl.config import RunConfig
from ernie_cmtl.data.loader import load_steps
from ernie_cmtl.errors import UserError
from ernie_cmtl.model.flops import training_flops
from ernie_cmtl.run.assemble import Run
from ernie_cmtl.training.trainer import Trainer
from ernie_cmtl.training.workers import Workers


@dataclass
class _Total:
    seconds: float = 0.0
    wait: float = 0.0
    tokens: int = 0
    slots: int = 0
    samples: int = 0
    flops: int = 0


def bench(config: RunConfig, steps: int, warmup: int, peak_tflops: float | None, data_only: bool) -> dict[str, Any]:
    """Time steps of a run without writing anything.

    peak_tflops: what the device can do; MFU is reported only with it. data_only: make the batches and do nothing with them.
    """
    run = Run(config)
    workers = Workers(config.training.precision)
    config.check_workers(workers.count)
    ledger = run.first_ledger()
    if warmup >= run.table.steps:
        raise UserError(f"--warmup {warmup} leaves none of the run's {run.table.steps} steps to time")
    last = min(run.table.steps, warmup + steps)
    source = run.source(ledger, last, workers.rank, workers.count)
    trainer = None
    if not data_only:
        trainer = Trainer(run.new_model(), run.instances, config.optimizer, workers, run.table, config.seed)
        trainer.wrapped.train()
    total = _Total()
    samples_before = 0
    loader = iter(load_steps(source))
    for number in range(last):
        start = time.perf_counter()
        data = next(loader)
        waited = time.perf_counter() - start
        if trainer:
            trainer.step(data, waited)
            if workers.device.type == "cuda":
                torch.cuda.synchronize()
        samples, samples_before = sum(data.ledger.samples) - samples_before, sum(data.ledger.samples)
        if number >= warmup:
            total.seconds += time.perf_counter() - start
            total.wait += waited
            total.tokens += data.real_tokens
            total.slots += data.slots
            total.samples += samples
            if trainer:
                total.flops += sum(training_flops(trainer.model, group) for group in data.groups)
    peak_memory = _peak_memory(workers.device)
    tokens = int(workers.sum(torch.tensor(total.tokens, device=workers.device)))
    if trainer:
        trainer.release()
    workers.close()
    timed = last - warmup
    return {
        "steps": timed,
        "workers": workers.count,
        "device": str(workers.device),
        "precision": workers.precision,
        "real_tokens_per_second": round(tokens / total.seconds, 1),
        "samples_per_second": round(total.samples / total.seconds, 1),
        "packing_efficiency": round(total.tokens / total.slots, 4),
        "data_wait_share": round(total.wait / total.seconds, 4),
        "step_seconds": {"data": round(total.wait / timed, 5), "compute": round((total.seconds - total.wait) / timed, 5)},
        "mfu": round(total.flops / total.seconds / (peak_tflops * 1e12), 4) if peak_tflops and trainer else None,
        "peak_memory_bytes": peak_memory,
    }


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated())
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024
