"""The learning rate of a step: a pure function of the step, the stage table and the settings."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Schedule = Literal["linear", "cosine", "wsd", "noam", "constant"]


class LearningRateConfig(BaseModel):
    """The way of the learning rate over a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schedule: Schedule = "linear"
    """Shape of the learning rate after a linear warm-up. linear, cosine: decay until the last step.
    wsd: constant, then linear decay. noam: inverse square root, as in ERNIE. constant: no decay.
    """
    learning_rate: float = Field(1e-4, gt=0)
    """Peak learning rate."""
    warmup_steps: int = Field(0, ge=0)
    """Steps in which the learning rate rises from zero to its peak."""
    final_fraction: float = Field(0.0, ge=0, le=1)
    """Final learning rate as a fraction of the peak, for linear, cosine and wsd."""
    decay_fraction: float = Field(0.1, gt=0, le=1)
    """Fraction of the run's steps in which wsd decays."""
    rewarm_steps: int = Field(0, ge=0)
    """Steps of a new warm-up at the start of each stage except the first. 0: no new warm-up."""
    rewarm_from: float = Field(0.1, ge=0, le=1)
    """Learning rate at the start of such a warm-up, as a fraction of the schedule's rate."""

    @model_validator(mode="after")
    def _noam_warms_up(self) -> "LearningRateConfig":
        if self.schedule == "noam" and not self.warmup_steps:
            raise ValueError(
                "schedule 'noam' has its peak at the end of the warm-up: warmup_steps 0 must be "
                "at least 1"
            )
        return self


def learning_rate(
    step: int, ends: Sequence[int], config: LearningRateConfig, restarts: Sequence[int] = ()
) -> float:
    """Return the learning rate of a step, counted from 0.

    ends: the step after the last one of each stage; restarts: the steps, rising, at which the
    schedule begins anew.
    """
    number = bisect_right(restarts, step)
    first, last = (0, *restarts)[number], (*restarts, ends[-1])[number]
    own = [end - first for end in ends if first < end <= last]
    return (
        config.learning_rate
        * _scheduled(step - first, last - first, config)
        * _rewarmed(step - first, own, config)
    )


def pinned_steps(
    steps: int, config: LearningRateConfig, restarts: Sequence[int] = ()
) -> frozenset[int]:
    """Return the steps of a run whose checkpoints are kept for good: those from which a run can
    grow, or has grown.

    With wsd it is the one before each decay; steps and restarts are those of `learning_rate`.
    """
    starts, stops = (0, *restarts), (*restarts, steps)
    decays = {
        first + _decay_start(last - first, config)
        for first, last in zip(starts, stops, strict=True)
    }
    return frozenset({*restarts, *(decays if config.schedule == "wsd" else ())} - {0, steps})


def _decay_start(steps: int, config: LearningRateConfig) -> int:
    decaying = max(1, round(config.decay_fraction * steps))
    return min(steps, max(config.warmup_steps, steps - decaying))


def _scheduled(step: int, steps: int, config: LearningRateConfig) -> float:
    """Return the part of the peak that the schedule gives a step."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "noam":
        return math.sqrt(config.warmup_steps / (step + 1))
    start = _decay_start(steps, config) if config.schedule == "wsd" else config.warmup_steps
    done = max(0, step - start) / max(1, steps - start)
    left = (1 + math.cos(math.pi * done)) / 2 if config.schedule == "cosine" else 1 - done
    return config.final_fraction + (1 - config.final_fraction) * left


def _rewarmed(step: int, ends: Sequence[int], config: LearningRateConfig) -> float:
    """Return the part of the scheduled rate that is left by the start of a later stage."""
    stage = bisect_right(ends, step)
    since = step - ends[stage - 1] if stage else step
    if not stage or since >= config.rewarm_steps:
        return 1.0
    return config.rewarm_from + (1 - config.rewarm_from) * since / config.rewarm_steps
