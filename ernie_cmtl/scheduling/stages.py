"""The stage table: a stage is a name and a budget of iterations for each of its tasks, as in the
paper's own table.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt, field_validator, model_validator

from ernie_cmtl.scheduling.mixing import mixed_stage


def positive_budget(task: str, budget: int) -> None:
    """Refuse a budget of nothing.

    Raises:
        ValueError: It is below 1.
    """
    if budget <= 0:
        raise ValueError(f"budget of {task!r} is {budget}; it must be at least 1")


class Stage(BaseModel):
    """A row of the table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    """Name of the stage in logs and tables."""
    budgets: dict[str, StrictInt]
    """Task instance -> iterations in this stage. One iteration is one step of the whole run. In a
    file, `steps` and `mixing` can replace it.
    """
    row_length: int | None = Field(None, ge=16)
    """Tokens of a row in this stage. none, here and below: as in the run's `data`."""
    maximum_length: int | None = Field(None, ge=8)
    """Maximum tokens of a sample in this stage."""
    rows: int | None = Field(None, ge=1)
    """Rows of a step in this stage, over all workers."""
    rows_per_group: int | None = Field(None, ge=1)
    """Rows that the encoder processes at once in this stage."""
    restart_schedule: bool = False
    """Restart the learning rate schedule (warm-up and decay) over this stage and the later ones."""

    @model_validator(mode="before")
    @classmethod
    def _mixing_writes_budgets(cls, values: Any) -> Any:
        return mixed_stage(values) if isinstance(values, dict) and "mixing" in values else values

    @field_validator("budgets")
    @classmethod
    def _positive(cls, budgets: dict[str, int]) -> dict[str, int]:
        if not budgets:
            raise ValueError("a stage needs at least one task")
        for task, budget in budgets.items():
            positive_budget(task, budget)
        return budgets

    @property
    def steps(self) -> int:
        """Steps of the stage."""
        return sum(self.budgets.values())

    @property
    def shape(self) -> dict[str, int]:
        """What the stage says of the shape of its steps."""
        return self.model_dump(
            include={"row_length", "maximum_length", "rows", "rows_per_group"}, exclude_none=True
        )


class StageTable:
    """The stages of a run, in order."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = tuple(stages)
        self.ends = tuple(accumulate(stage.steps for stage in self.stages))
        """Step after the last one of each stage."""

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.ends[-1]

    @property
    def restarts(self) -> tuple[int, ...]:
        """First step of each stage that begins the learning rate anew."""
        starts = zip(self.stages, (0, *self.ends), strict=False)
        return tuple(start for stage, start in starts if stage.restart_schedule)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Task instances in order of introduction: the order of their rows in the task
        embedding.
        """
        return tuple(dict.fromkeys(task for stage in self.stages for task in stage.budgets))

    @property
    def totals(self) -> dict[str, int]:
        """Task instance -> iterations over all stages."""
        return {
            task: sum(stage.budgets.get(task, 0) for stage in self.stages) for task in self.tasks
        }

    def stage_of(self, step: int) -> int:
        """Return the number of the stage that a step belongs to."""
        return next(number for number, end in enumerate(self.ends) if step < end)
