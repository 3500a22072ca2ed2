"""Mixing rules: how a stage's steps are shared among tasks by the number of their examples."""

from fractions import Fraction
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError, field_validator

from ernie_cmtl.scheduling.rounding import round_table


class Mixing(BaseModel):
    """In proportion to min(examples, cap) ** (1 / temperature), as in T5 (Raffel et al. 2020,
    section 3.5.2).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    examples: dict[str, StrictInt] = Field(min_length=1)
    """Task instance -> number of its examples."""
    temperature: float = Field(1.0, ge=1)
    """1: in proportion; the higher, the more alike."""
    cap: int | None = Field(None, ge=1)
    """More examples than these count as these."""

    @field_validator("examples")
    @classmethod
    def _some(cls, examples: dict[str, int]) -> dict[str, int]:
        for task, number in examples.items():
            if number < 1:
                raise ValueError(f"task {task!r} has {number} examples; it must have at least 1")
        return examples

    def budgets(self, steps: int) -> dict[str, int]:
        """Share out a number of steps, at least one a task."""
        if steps < len(self.examples):
            raise ValueError(f"{steps} steps are too few for {len(self.examples)} tasks")
        rates = [
            Fraction(min(number, self.cap or number) ** (1 / self.temperature)).limit_denominator(
                10**6
            )
            for number in self.examples.values()
        ]
        spare = steps - len(rates)
        (shared,) = round_table([[1 + spare * rate / sum(rates) for rate in rates]])
        return dict(zip(self.examples, shared, strict=True))


def mixed_stage(values: dict[str, Any]) -> dict[str, Any]:
    """Replace `mixing` and `steps` of a stage as it is written by the budgets that they give."""
    rule, steps = values["mixing"], values.get("steps")
    if "budgets" in values:
        raise ValueError("a stage has budgets or a mixing rule, not both")
    if not isinstance(steps, int) or isinstance(steps, bool):
        raise ValueError(
            f"a mixing rule shares out steps: steps is {steps!r}; it must be a whole number"
        )
    kept = {key: value for key, value in values.items() if key not in ("mixing", "steps")}
    try:
        return kept | {"budgets": Mixing.model_validate(rule).budgets(steps)}
    except ValidationError as error:
        found = (
            f"{'.'.join(map(str, ('mixing', *e['loc'])))}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise ValueError("; ".join(found)) from error
