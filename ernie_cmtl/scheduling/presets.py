"""Presets write the stage table, so that nothing behind the table knows of them."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, field_validator, model_validator

from ernie_cmtl.scheduling.rounding import round_table
from ernie_cmtl.scheduling.stages import Stage, positive_budget

PresetName = Literal["continual", "multitask", "continual_multitask", "continual_multitask_mlm"]


class PresetTask(BaseModel):
    """What a task has of its own in a preset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    budget: StrictInt | None = None
    """The task's budget over all stages. none: the preset's."""
    review: float | None = Field(None, ge=0, lt=1)
    """Share of the budget in each later stage. none: the preset's."""


class Preset(BaseModel):
    """Which tasks join in which order, how much each gets in all, and how that is spread over
    stages.

    continual: one task a stage. multitask: all of them in one stage. continual_multitask: a stage
    adds a task and goes on with the earlier ones, as in ERNIE 2.0. continual_multitask_mlm: the
    same, with masked tokens in the examples of every task.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: PresetName = "continual_multitask_mlm"
    """How tasks are distributed over stages."""
    budget: StrictInt | None = None
    """Budget of each task without its own budget."""
    review: float | None = Field(None, ge=0, lt=1)
    """Share of a task's budget in each stage after the one that adds it. none: 1 / (tasks + 1), as
    in the paper.
    """
    tasks: dict[str, PresetTask] = Field(min_length=1)
    """Task instances in order of introduction."""

    @field_validator("tasks", mode="before")
    @classmethod
    def _plain_names(cls, tasks: object) -> object:
        return (
            {name: given or {} for name, given in tasks.items()}
            if isinstance(tasks, Mapping)
            else tasks
        )

    @model_validator(mode="after")
    def _complete(self) -> "Preset":
        for name, task in self.tasks.items():
            budget = self.budget if task.budget is None else task.budget
            if budget is None:
                raise ValueError(
                    f"task {name!r} has no budget: give one to all (budget) or to it "
                    f"(tasks.{name}.budget)"
                )
            positive_budget(name, budget)
            if not self.reviews and task.review is not None:
                raise ValueError(
                    f"preset {self.name!r} reviews no task: tasks.{name}.review {task.review} "
                    "says nothing"
                )
        if not self.reviews and self.review is not None:
            raise ValueError(
                f"preset {self.name!r} reviews no task: review {self.review} says nothing"
            )
        self._spread([Fraction(1)] * len(self.tasks))
        return self

    @property
    def reviews(self) -> bool:
        """Do later stages go on with earlier tasks."""
        return self.name.startswith("continual_multitask")

    @property
    def masks_tokens(self) -> bool:
        """Are tokens masked in the examples of every task."""
        return self.name.endswith("_mlm")

    def stages(self, tokens_per_iteration: int = 1) -> list[Stage]:
        """Write the table; tokens_per_iteration: more than 1 where the budgets count tokens.

        Every task has its total exactly (in tokens: rounded to iterations, up or down), every stage
        the neighbour of its own.
        """
        given = [
            self.budget if task.budget is None else task.budget for task in self.tasks.values()
        ]
        table = self._spread([Fraction(budget or 0, tokens_per_iteration) for budget in given])
        names = list(self.tasks) if len(table) > 1 or len(self.tasks) == 1 else ["all"]
        rows = [dict(zip(self.tasks, row, strict=True)) for row in round_table(table)]
        return [
            Stage(name=name, budgets={task: budget for task, budget in row.items() if budget})
            for name, row in zip(names, rows, strict=True)
        ]

    def _spread(self, budgets: Sequence[Fraction]) -> list[list[Fraction]]:
        """Return what each stage gives each task; [stages, tasks]."""
        if self.name == "multitask":
            return [list(budgets)]
        columns = []
        for number, (budget, (name, task)) in enumerate(
            zip(budgets, self.tasks.items(), strict=True)
        ):
            later = len(self.tasks) - 1 - number
            review = self._review(name, task, later) * budget
            own = max(budget - later * review, min(budget, Fraction(1)))
            columns.append(
                [Fraction(0)] * number + [own] + [(budget - own) / max(later, 1)] * later
            )
        return [list(row) for row in zip(*columns, strict=True)]

    def _review(self, name: str, task: PresetTask, later: int) -> Fraction:
        if not self.reviews:
            return Fraction(0)
        given = self.review if task.review is None else task.review
        if given is None:
            return Fraction(1, len(self.tasks) + 1)
        share = Fraction(str(given))
        if later * share >= 1:
            raise ValueError(
                f"review {given} of task {name!r} in {later} later stages leaves nothing of it for "
                f"the stage that adds it; it must be below 1/{later}"
            )
        return share
