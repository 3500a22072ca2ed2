"""Settings of a step's shape."""

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ernie_cmtl.errors import UserError


class DataConfig(BaseModel):
    """Shape of a step."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    row_length: int = Field(128, ge=16)
    """Tokens of a row."""
    maximum_length: int | None = Field(None, ge=8)
    """Maximum tokens of a sample. none: the row length. Rows that are several times longer than the
    samples have little padding.
    """
    rows: int = Field(32, ge=1)
    """Rows of a step, over all workers."""
    rows_per_group: int = Field(32, ge=1)
    """Rows that the encoder processes at once. It affects memory and speed, not the data."""
    loader_workers: int = Field(0, ge=0)
    """Processes that prepare batches in advance. 0: the training process prepares them."""

    @model_validator(mode="after")
    def _shapes_fit(self) -> "DataConfig":
        if self.rows % self.rows_per_group:
            accepted = [n for n in range(1, self.rows + 1) if self.rows % n == 0]
            raise ValueError(
                f"rows_per_group {self.rows_per_group} does not divide rows {self.rows}; "
                f"accepted: {accepted}"
            )
        if self.longest > self.row_length:
            raise ValueError(
                f"maximum_length {self.maximum_length} is more than row_length {self.row_length}"
            )
        return self

    @property
    def longest(self) -> int:
        """Most tokens of a sample."""
        return self.maximum_length or self.row_length

    @property
    def groups(self) -> int:
        """Groups of a step."""
        return self.rows // self.rows_per_group

    def check_workers(self, workers: int) -> None:
        """Refuse a number of workers that cannot share the groups evenly."""
        if self.groups % workers:
            accepted = [n for n in range(1, self.groups + 1) if self.groups % n == 0]
            raise UserError(
                f"{workers} workers cannot share {self.groups} groups of rows evenly; accepted: "
                f"{accepted}"
            )
