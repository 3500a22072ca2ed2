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
    """Newest checkpoints that stay; with 1 there is none to fall back to if it is damaged."""
    keep_every: int | None = Field(None, ge=1)
    """Steps between checkpoints that are kept for good; none: no such checkpoints."""
    asynchronous: bool = False
    """Train while a checkpoint is written, from a copy in the memory of the main worker's
    machine.
    """


class HeldoutConfig(BaseModel):
    """When held-out samples are scored, and how many."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: int = Field(0, ge=0)
    """Steps between held-out evaluations inside a stage; 0: only at each stage's end."""
    samples: int = Field(512, ge=1)
    """Held-out samples of each task."""


class SkippingConfig(BaseModel):
    """Which steps are skipped besides those that are not finite, and when skipped steps end a
    run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(10, ge=1)
    """Skipped steps in a row after which a run ends."""
    spike_window: int | None = Field(None, ge=2)
    """Skip a step whose gradient norm is `spike_sigma` above the mean of this number of steps of
    its stage before; none: skip none.
    """
    spike_sigma: float = Field(6.0, gt=0)
    """Standard deviations of the norms in the window."""


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
    """auto: bf16 autocast where the hardware is fast at it, fp32 elsewhere."""
    gradient_checkpointing: bool = False
    """Compute the activations of each layer again in the backward pass: less memory, more time, the
    same result.
    """
    compile: bool = False
    """Compile the layers of the encoder, apart from attention: meant for GPUs, at the cost of a
    slow first step.
    """
    reduce_precision: ReducePrecision = "fp32"
    """Of the gradients that workers add up; bf16 halves what goes over the wires."""
    sharding: Sharding = "none"
    """none: each worker has all weights, gradients and moments; full: its part of them, and gathers
    layers as it needs them.
    """
    log_every: int = Field(10, ge=1)
    """Steps between lines of the log."""
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    heldout: HeldoutConfig = HeldoutConfig()
    skipping: SkippingConfig = SkippingConfig()
    worker_timeout_seconds: float = Field(600, gt=0)
    """How long a worker waits for another before it ends the run; longer than the longest save
    takes.
    """
    max_hours: float | None = Field(None, gt=0)
    """Hours after which a run saves and stops; the same command continues it. None: train to the
    end.
    """
    trackers: list[str] = ["tensorboard"]
    """Where metrics go besides `metrics.jsonl`; any that accelerate knows and that are
    installed.
    """

    @field_validator("trackers")
    @classmethod
    def _known(cls, trackers: list[str]) -> list[str]:
        for name in trackers:
            if name not in known_trackers():
                raise ValueError(f"unknown tracker {name!r}; {choices(name, known_trackers())}")
        return trackers
