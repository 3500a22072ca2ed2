"""How much the loss of each head and task counts. One rule a file; its name is the name of the
file.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from ernie_cmtl.errors import UserError
from ernie_cmtl.plugins import Plugins
from ernie_cmtl.settings import explain
from ernie_cmtl.task import HeadSpec
from ernie_cmtl.task_instance import TaskInstance


class LossWeightingConfig(BaseModel):
    """Which rule weighs the losses; the other keys are its options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    rule: str = "manual"
    """How losses are weighted: the name of a file in `training/loss_weighting`, or of a plug-in."""


class WeightingOptions(BaseModel):
    """Options of a rule; one that has any adds them by subclassing."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LossWeighting(ABC):
    """One rule. All that it uses is the same on every worker, so all workers compute the same."""

    Options: ClassVar[type[WeightingOptions]] = WeightingOptions
    measures: ClassVar[bool] = False
    """Does it decide by held-out losses, so that a run has to measure them."""
    compares_tasks: ClassVar[bool] = False
    """Does it weigh the tasks of a step against one another, so that a step needs several."""

    def __init__(
        self,
        options: WeightingOptions,
        heads: Mapping[str, HeadSpec],
        instances: Sequence[TaskInstance],
    ) -> None:
        self.options = options
        self.heads, self.instances = dict(heads), list(instances)
        of_heads = torch.tensor([spec.weight for spec in heads.values()], dtype=torch.float64)
        of_tasks = torch.tensor([task.loss_weight for task in instances], dtype=torch.float64)
        self.weights = of_heads[:, None] * of_tasks[None, :]
        """Weight of the head x `tasks.NAME.loss_weight`; float64 [heads, tasks]."""

    @abstractmethod
    def coefficients(self, labels: Tensor, shares: Sequence[float], step: int) -> Tensor:
        """Return what the loss of one label of (head, task) counts in a step; float64 [heads,
        tasks].

        labels: of the step, over all workers, int64 [heads, tasks]; shares: part of the step's
        tokens that each task has, summing to 1.
        """

    # Most rules remember nothing.
    def measured(self, step: int, losses: Mapping[str, float]) -> None:  # noqa: B027
        """Take note of held-out losses after so many steps; losses: by `<instance>/<head>`."""

    def line(self, shares: Sequence[float]) -> dict[str, Any]:
        """Return what the log says after held-out losses were measured, `weights` among it, by
        `<instance>/<head>`; nothing where the rule has decided nothing.

        shares: that the tasks have in the steps ahead.
        """
        return {}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold for the rule to resume, as JSON holds it."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Resume from what `state` returned; empty before the first checkpoint."""


LOSS_WEIGHTINGS = Plugins(
    LossWeighting,  # type: ignore[type-abstract]
    "loss weighting",
    package=__name__,
    group="ernie_cmtl.loss_weightings",
)


def build_loss_weighting(
    config: LossWeightingConfig,
    heads: Mapping[str, HeadSpec],
    instances: Sequence[TaskInstance],
) -> LossWeighting:
    """Make the rule that the settings name.

    Raises:
        UserError: There is no such rule, or an option is not accepted.
    """
    rule = LOSS_WEIGHTINGS.find(config.rule)
    try:
        options = rule.Options.model_validate(config.model_extra or {})
    except ValidationError as error:
        raise UserError(explain(error, rule.Options, "loss_weighting")) from error
    return rule(options, heads, instances)


def check_rule(
    config: LossWeightingConfig, mode: str, heldout_every: int, moves_budgets: bool
) -> None:
    """Refuse a rule that does not go with other settings of a run.

    mode: of the steps; heldout_every: steps between held-out evaluations, 0 for none;
    moves_budgets: whether `feedback` does so.

    Raises:
        UserError: It says what the rule does not go with, and what to set.
    """
    if config.rule == LossWeightingConfig().rule:
        return
    try:
        rule = LOSS_WEIGHTINGS.find(config.rule)
    except UserError:
        # Said where the rule is built: the files of a run can be read without its plug-ins.
        return
    named = f"loss_weighting.rule {config.rule!r}"
    if rule.compares_tasks and mode == "one_task":
        raise UserError(
            f"{named} weighs the tasks of a step against one another, and with mode 'one_task' a "
            f"step has one; accepted: {_names('compares_tasks')}; or set mode=mixed"
        )
    if rule.measures and moves_budgets:
        raise UserError(
            f"{named} and feedback would both answer the same held-out losses; accepted beside "
            f"feedback: {_names('measures')}; or take feedback out (feedback=null)"
        )
    if rule.measures and not heldout_every:
        raise UserError(
            f"{named} decides at each held-out evaluation, and training.heldout.every is 0; "
            "accepted: 1 or more steps, as training.heldout.every=500"
        )


def _names(unlike: str) -> str:
    """Return the names of the rules of which something is not true."""
    return ", ".join(name for name in LOSS_WEIGHTINGS.names() if not _is(name, unlike))


def _is(name: str, kind: str) -> bool:
    try:
        return bool(getattr(LOSS_WEIGHTINGS.find(name), kind))
    except UserError:
        # Another person's rule that is broken is nothing to recommend.
        return True
