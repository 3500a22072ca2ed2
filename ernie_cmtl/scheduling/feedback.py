"""Feedback: at fixed steps what is left of a stage moves between its tasks, by what was measured on
held-out examples.

The total stays, and a task's part stays between a floor and a cap. A decision is a function of the
measurements alone, so it is the same on every worker and again after a break.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from ernie_cmtl.scheduling.plan import Plan, Revision
from ernie_cmtl.scheduling.rounding import round_table
from ernie_cmtl.scheduling.stages import StageTable

Losses = Mapping[str, Mapping[str, float]]
"""Task instance -> head -> mean loss on the held-out examples, which never change."""


@dataclass(frozen=True)
class Measurement:
    """What was measured before a step."""

    step: int
    losses: Losses


class FeedbackConfig(BaseModel):
    """When budgets move, by which policy and how far."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: int = Field(ge=1)
    """Steps between decisions, counted from the start of each stage."""
    policy: Literal["forgetting", "bandit"] = "forgetting"
    """forgetting: more steps for tasks that forget or still learn. bandit: more steps for tasks
    with a high loss.
    """
    floor: float = Field(0.5, gt=0, le=1)
    """Minimum share of a task in the remaining steps, as a multiple of its share in the stage
    table.
    """
    cap: float = Field(2.0, ge=1)
    """Maximum share of a task in the remaining steps, as a multiple of its share in the stage
    table.
    """


class Policy(ABC):
    """Says how much more, or less, a task should get than the stage table gives it."""

    @abstractmethod
    def factors(
        self, stage: Sequence[Measurement], before: Sequence[Measurement], tasks: Sequence[str]
    ) -> dict[str, float]:
        """Return of each task a positive factor of its part; stage: measured since the stage's
        start, before: until then.
        """


class Forgetting(Policy):
    """1 + forgetting + progress, both in parts of what the task has learned in all, and the mean
    over its heads.

    Forgetting: how far the loss is above its best. Progress: how far it fell since the last
    measurement.
    """

    SMALLEST: ClassVar[float] = 0.05
    """Part of the first loss that a task counts to have learned at least: noise around nothing
    learned is no forgetting.
    """

    def factors(
        self, stage: Sequence[Measurement], before: Sequence[Measurement], tasks: Sequence[str]
    ) -> dict[str, float]:
        """Return the factors."""
        history = [*before, *stage]

        def heads(task: str) -> Iterable[float]:
            # A task that joined the run later was not measured before.
            known = [measured.losses[task] for measured in history if task in measured.losses]
            return (
                self._head([losses[head] for losses in known]) for head in stage[-1].losses[task]
            )

        return {task: 1 + _mean(heads(task)) for task in tasks}

    def _head(self, losses: Sequence[float]) -> float:
        best = min(losses)
        learned = max(losses[0] - best, self.SMALLEST * losses[0])
        progress = losses[-2] - losses[-1] if len(losses) > 1 else 0.0
        return (losses[-1] - best + max(0.0, progress)) / learned


class Bandit(Policy):
    """Online data mixing (Albalak et al. 2023): a task is an arm, its reward its loss.

    Losses of different tasks do not compare, so a reward is 2 x loss / (loss + loss at the start of
    the stage): 1 where nothing changed, between 0 and 2.
    """

    MEMORY: ClassVar[float] = 0.9
    """Part that the moving average of the rewards keeps."""

    def factors(
        self, stage: Sequence[Measurement], before: Sequence[Measurement], tasks: Sequence[str]
    ) -> dict[str, float]:
        """Return the factors: arms times the probability of a task's own."""
        arms = len(tasks)
        rewards = dict.fromkeys(tasks, 0.0)
        for measured in stage[1:]:
            for task in tasks:
                start, now = stage[0].losses[task], measured.losses[task]
                reward = _mean(2 * now[head] / (now[head] + start[head]) for head in start)
                rewards[task] = self.MEMORY * rewards[task] + (1 - self.MEMORY) * reward
        turns = max(1, len(stage) - 1)
        explored, sharpness = (
            min(1 / arms, math.sqrt(math.log(arms) / (arms * turn)))
            for turn in (turns, max(1, turns - 1))
        )
        weights = {task: math.exp(sharpness * reward) for task, reward in rewards.items()}
        total = sum(weights.values())
        return {
            task: arms * ((1 - arms * explored) * weight / total + explored)
            for task, weight in weights.items()
        }


POLICIES: Mapping[str, type[Policy]] = {"forgetting": Forgetting, "bandit": Bandit}


@dataclass(frozen=True)
class Decision:
    """A revision of the stage table and the numbers that it came from."""

    revision: Revision
    policy: str
    factors: Mapping[str, float]
    """What the policy says of each task."""
    left: Mapping[str, float]
    """Iterations that were left of each task in its stage, before the decision."""

    def line(self) -> dict[str, Any]:
        """Return it for the log."""
        return {
            "policy": self.policy,
            "factors": self.factors,
            "left": self.left,
            "budgets": self.revision.budgets,
        }


def next_decision(step: int, table: StageTable, every: int) -> int | None:
    """Return the first step after `step` before which budgets move: inside a stage of several
    tasks, not at its start.
    """
    for end, stage in zip(table.ends, table.stages, strict=True):
        start = end - stage.steps
        due = start + every * (max(0, step - start) // every + 1)
        if len(stage.budgets) > 1 and step < due < end:
            return due
    return None


def decide(
    config: FeedbackConfig, plan: Plan, step: int, history: Sequence[Measurement]
) -> Decision:
    """Share out anew what the stage of a step has left; history: the measurements so far, the last
    one before this step.
    """
    number = plan.table.stage_of(step)
    stage = plan.table.stages[number]
    start = plan.table.ends[number] - stage.steps
    tasks = list(stage.budgets)
    inside, before = [m for m in history if m.step >= start], [m for m in history if m.step < start]
    factors = POLICIES[config.policy]().factors(inside, before, tasks)
    planned = {task: budget / stage.steps for task, budget in stage.budgets.items()}
    parts = _bounded(planned, factors, config.floor, config.cap)
    steps = plan.table.ends[number] - step
    exact = [Fraction(parts[task]) for task in tasks]
    (budgets,) = round_table([[steps * part / sum(exact) for part in exact]])
    kept = {task: budget for task, budget in zip(tasks, budgets, strict=True) if budget}
    return Decision(Revision(step, kept), config.policy, factors, plan.left(step))


def _bounded(
    planned: Mapping[str, float], factors: Mapping[str, float], floor: float, cap: float
) -> dict[str, float]:
    """Return parts in the ratio of planned x factor that sum to 1, none below floor x planned nor
    above cap x planned.
    """
    low, high = 0.0, cap / min(factors.values())
    # The sum grows with the scale, from at most 1 to at least 1: halve the interval down to the
    # last bit.
    for _ in range(200):
        scale = (low + high) / 2
        parts = {
            task: planned[task] * min(cap, max(floor, scale * factors[task])) for task in planned
        }
        low, high = (scale, high) if sum(parts.values()) < 1 else (low, scale)
    return parts


def _mean(values: Iterable[float]) -> float:
    """Return the mean, or 0 of a task that has no label on held-out text."""
    found = list(values)
    return sum(found) / max(1, len(found))
