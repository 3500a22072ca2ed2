"""The settings of what happens between steps."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ernie_cmtl.errors import choices
from ernie_cmtl.training.distributed import Precision, ReducePrecision
from ernie_cmtl.training.sharding import Sharding
from ernie_cmtl.training.trackers import known_trackers


class CheckpointsConfig(BaseModel):
    """When a run is saved, and which checkpoints stay."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: int = Field(1000, ge=1)
    """Steps between checkpoints."""
    keep: int = Field(2, ge=1)
    """Number of newest checkpoints to keep. With 1 there is no fallback for a damaged one."""
    keep_every: int | None = Field(None, ge=1)
    """Steps between checkpoints that are kept permanently. none: no such checkpoints."""
    asynchronous: bool = False
    """Continue training while a checkpoint is written. This needs memory for a copy on the main
    worker's machine.
    """


class HeldoutConfig(BaseModel):
    """When held-out samples are scored, and how many."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: int = Field(0, ge=0)
    """Steps between held-out evaluations inside a stage. 0: only at each stage's end."""
    samples: int = Field(512, ge=1)
    """Held-out samples per task."""


class SkippingConfig(BaseModel):
    """Which steps are skipped besides those that are not finite, and when skipped steps end a
    run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(10, ge=1)
    """Number of consecutive skipped steps after which the run stops."""
    spike_window: int | None = Field(None, ge=2)
    """Skip a step if its gradient norm is `spike_sigma` above the mean of this number of preceding
    steps of its stage. none: skip none.
    """
    spike_sigma: float = Field(6.0, gt=0)
    """Threshold of a spike, in standard deviations of the norms in the window."""


class TrainingConfig(BaseModel):
    """What happens between steps."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    RENAMED: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "checkpoint_every": "checkpoints.every",
            "keep_checkpoints": "checkpoints.keep",
            "keep_every": "checkpoints.keep_every",
            "asynchronous_checkpoints": "checkpoints.asynchronous",
            "heldout_every": "heldout.every",
            "heldout_samples": "heldout.samples",
            "skipped_steps_limit": "skipping.limit",
            "spike_window": "skipping.spike_window",
            "spike_sigma": "skipping.spike_sigma",
        }
    )
    """Key of an earlier version -> the dotted key that it is now."""

    precision: Precision = "auto"
    """auto: bf16 autocast if the hardware has fast bf16 instructions, otherwise fp32."""
    gradient_checkpointing: bool = False
    """Recompute each layer's activations in the backward pass: less memory, more time, the same
    result.
    """
    compile: bool = False
    """Compile the encoder's layers except attention. Meant for GPUs; the first step is slow."""
    reduce_precision: ReducePrecision = "fp32"
    """Precision of the gradients that workers exchange. bf16 halves the traffic."""
    sharding: Sharding = "none"
    """none: each worker holds all weights, gradients and moments. full: each worker holds a part
    and gathers layers when it needs them.
    """
    log_every: int = Field(10, ge=1)
    """Steps between log lines."""
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    heldout: HeldoutConfig = HeldoutConfig()
    skipping: SkippingConfig = SkippingConfig()
    worker_timeout_seconds: float = Field(600, gt=0)
    """Seconds that a worker waits for another before it stops the run. Must be longer than the
    longest save.
    """
    max_hours: float | None = Field(None, gt=0)
    """Hours after which the run saves and stops; the same command resumes it. none: train to the
    end.
    """
    trackers: list[str] = ["tensorboard"]
    """Trackers that receive metrics in addition to `metrics.jsonl`: any installed tracker that
    accelerate supports.
    """

    @field_validator("trackers")
    @classmethod
    def _known(cls, trackers: list[str]) -> list[str]:
        for name in trackers:
            if name not in known_trackers():
                raise ValueError(f"unknown tracker {name!r}; {choices(name, known_trackers())}")
        return trackers
