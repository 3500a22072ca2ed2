"""What a recipe of fine-tuning says: rows, columns, kind of labels, training."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

STRICT = ConfigDict(extra="forbid", frozen=True)

KindName = Literal["classification", "regression", "ranking", "tokens", "span"]
Source = str | tuple[str, ...]
"""Files, relative to the folder of the data, or `datasets:NAME,name=CONFIG,split=SPLIT`."""
Part = Annotated[float, Field(gt=0, lt=1)]
"""Part of the groups of the training rows that is cut off for a split."""


class RowsConfig(BaseModel):
    """Where the rows of each split are."""

    model_config = STRICT

    train: Source
    """File or files with the training rows."""
    dev: Part | Source | None = None
    """Development rows: a file, files, or a fraction of the training rows. They choose the learning
    rate; without a test split, their scores are reported.
    """
    test: Part | Source | None = None
    """Test rows, whose scores are reported: a file, files, or a fraction of the training rows."""
    limit: int | None = Field(None, ge=1)
    """Maximum examples of a split (for ranking: queries), taken at even distances."""

    @model_validator(mode="after")
    def _judged(self) -> "RowsConfig":
        if self.dev is None and self.test is None:
            raise ValueError(
                "a recipe needs dev, test or both: files, or a part of the training rows such as "
                "0.1"
            )
        if sum(part for part in (self.dev, self.test) if isinstance(part, float)) >= 1:
            raise ValueError("the parts of dev and test leave no training rows")
        return self


class ColumnsConfig(BaseModel):
    """Which column, or key, holds what."""

    model_config = STRICT

    text: str
    """Column of the text; for ranking the query, for tokens the words, for span the question."""
    text_pair: str | None = None
    """Column of the second text; for ranking the candidate, for span the passage."""
    label: str
    """Column of the class, score, grade, list of labels, or list of answers."""
    group: str | None = None
    """Column of a group. Rows with the same value stay in one split; for ranking they are one
    query. Default: the text.
    """


class TrainConfig(BaseModel):
    """How each model is trained: AdamW, linear warm-up and linear decay to zero."""

    model_config = STRICT

    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1)
    """Learning rates to try. The one with the highest mean on dev is reported."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((1, 2, 3), min_length=1)
    """Seeds. Each learning rate is trained with each seed."""
    epochs: float = Field(3, gt=0)
    """Passes over the training rows."""
    max_steps: int | None = Field(None, ge=1)
    """Maximum number of steps, regardless of the epochs."""
    batch_size: int = Field(32, ge=1)
    """Examples per step; for ranking, lists of candidates."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Fraction of the steps with linear warm-up."""
    weight_decay: float = Field(0.0, ge=0)
    """Weight decay of AdamW."""

    @field_validator("learning_rates", "seeds")
    @classmethod
    def _distinct(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(values)) < len(values):
            raise ValueError("a value stands twice")
        return values


class Recipe(BaseModel):
    """How an encoder is fine-tuned and judged on one set."""

    model_config = STRICT

    kind: KindName
    """Kind of the labels."""
    data: RowsConfig
    columns: ColumnsConfig
    labels: tuple[Annotated[str, Field(coerce_numbers_to_str=True)], ...] | None = None
    """Classes; of two, the positive one is last. Default: those of the training rows, sorted."""
    metric: str | None = None
    """Metric that chooses the learning rate and is reported first. Default: the kind's first."""
    maximum_length: int = Field(128, ge=8)
    """Maximum tokens of an input; longer inputs are truncated."""
    train: TrainConfig
    task_row: Annotated[int, Field(ge=0)] | Literal["mean", "fresh"] | None = None
    """Task embedding of all inputs: a row number, the mean of the rows that pretraining used, or a
    fresh random row. none: the row that an export has folded in, otherwise the first.
    """
    init: Literal["pretrained", "random"] = "pretrained"
    """random: start from random weights, with an encoder of the same size."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the kind."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        if self.kind in ("ranking", "span") and self.columns.text_pair is None:
            raise ValueError(f"the kind {self.kind} needs columns.text_pair")
        if len(self.train.learning_rates) > 1 and self.data.dev is None:
            raise ValueError("several learning rates need data.dev to choose among them")
        return self
