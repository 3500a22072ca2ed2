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
    """File, or files, of training rows."""
    dev: Part | Source | None = None
    """Chooses the learning rate; what is reported where there is no test split."""
    test: Part | Source | None = None
    """What is reported."""
    limit: int | None = Field(None, ge=1)
    """Most examples of a split, taken at even distances; of ranking, queries."""

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
    """The text; of ranking the query, of token labels the words, of spans the question."""
    text_pair: str | None = None
    """The second text; of ranking the candidate, of spans the passage."""
    label: str
    """Class, score, grade, list of labels, or list of answers."""
    group: str | None = None
    """Rows with the same value stay in one split, and of ranking are one query; by default those
    with the same text.
    """


class TrainConfig(BaseModel):
    """How each model is trained: AdamW, linear warm-up and linear decay to zero."""

    model_config = STRICT

    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1)
    """The one with the highest mean on dev is reported."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((1, 2, 3), min_length=1)
    """Each learning rate is trained with each of these."""
    epochs: float = Field(3, gt=0)
    """Rounds through the training rows."""
    max_steps: int | None = Field(None, ge=1)
    """Most steps, whatever the epochs."""
    batch_size: int = Field(32, ge=1)
    """Examples of a step; of ranking, lists of candidates."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Part of the steps."""
    weight_decay: float = Field(0.0, ge=0)
    """Of AdamW."""

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
    """What the labels are."""
    data: RowsConfig
    columns: ColumnsConfig
    labels: tuple[Annotated[str, Field(coerce_numbers_to_str=True)], ...] | None = None
    """The classes, the positive one of two last; by default those of the training rows, sorted."""
    metric: str | None = None
    """What chooses and is reported first; by default the first of the kind."""
    maximum_length: int = Field(128, ge=8)
    """Tokens of the longest input; longer ones are cut."""
    train: TrainConfig
    task_row: Annotated[int, Field(ge=0)] | Literal["mean", "fresh"] | None = None
    """Which task embedding all inputs get: a row, the mean of the rows that pretraining filled, or
    a random one. None: the row that an export has folded in, or else the first.
    """
    init: Literal["pretrained", "random"] = "pretrained"
    """random: an encoder of the same size that has learned nothing."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the kind."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        if self.kind in ("ranking", "span") and self.columns.text_pair is None:
            raise ValueError(f"the kind {self.kind} needs columns.text_pair")
        if len(self.train.learning_rates) > 1 and self.data.dev is None:
            raise ValueError("several learning rates need data.dev to choose among them")
        return self
