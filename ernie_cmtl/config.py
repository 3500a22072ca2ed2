"""The configuration of a run: each part's own settings, composed; strict, from YAML and dotted overrides."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ernie_cmtl.data.loader import DataConfig
from ernie_cmtl.errors import UserError
from ernie_cmtl.model.encoder import EncoderConfig
from ernie_cmtl.scheduling.plan import Mode
from ernie_cmtl.scheduling.stages import Stage
from ernie_cmtl.settings import explain, validate
from ernie_cmtl.training.optimizer import OptimizerConfig
from ernie_cmtl.training.trackers import known_trackers
from ernie_cmtl.training.workers import Precision


class TaskConfig(BaseModel):
    """How a run uses a task: `type` names the task, by default the instance's own name; the other keys are its options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The task's own options."""
        return dict(self.model_extra or {})


class TrainingConfig(BaseModel):
    """What happens between steps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    precision: Precision = "auto"
    """auto: bf16 autocast where the hardware is fast at it, fp32 elsewhere."""
    gradient_checkpointing: bool = False
    """Compute the activations of each layer again in the backward pass: less memory, more time, the same result."""
    log_every: int = Field(10, ge=1)
    heldout_every: int = Field(0, ge=0)
    """Steps between held-out evaluations inside a stage; 0: only at each stage's end."""
    heldout_samples: int = Field(512, ge=1)
    """Held-out samples of each task."""
    checkpoint_every: int = Field(1000, ge=1)
    keep_checkpoints: int = Field(2, ge=1)
    max_hours: float | None = Field(None, gt=0)
    """Save and stop after so many hours; the same command goes on. None: train to the end."""
    trackers: list[str] = ["tensorboard"]
    """Where metrics go besides `metrics.jsonl`; any that accelerate knows and that are installed."""

    @field_validator("trackers")
    @classmethod
    def _known(cls, trackers: list[str]) -> list[str]:
        for name in trackers:
            if name not in known_trackers():
                raise ValueError(f"unknown tracker {name!r}; accepted: {', '.join(known_trackers())}")
        return trackers


class RunConfig(BaseModel):
    """Everything that a run is made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: Path
    """Folder that the run writes."""
    corpus: Path
    """Folder that `prepare` wrote."""
    seed: int = Field(1, ge=0)
    mixture: dict[str, float] | None = None
    """Source of the corpus -> part of the tokens that training draws from it, summing to 1; none: the corpus's own mixture."""
    tasks: dict[str, TaskConfig] = {}
    """Instance name -> type and options; a task of the stage table that is not listed has its defaults."""
    stages: list[Stage] = Field(min_length=1)
    mode: Mode = "mixed"
    """mixed: every step carries all tasks of its stage; one_task: a step serves one task, as in the paper."""
    data: DataConfig = DataConfig()
    encoder: EncoderConfig = EncoderConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()

    @field_validator("tasks")
    @classmethod
    def _names(cls, tasks: dict[str, TaskConfig]) -> dict[str, TaskConfig]:
        for name in tasks:
            if not name.isidentifier():
                raise ValueError(f"instance name {name!r} is not made of letters, digits and underscores")
        return tasks

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
        names = [stage.name for stage in self.stages]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"stage names must differ; repeated: {', '.join(repeated)}")
        scheduled = {task for stage in self.stages for task in stage.budgets}
        if idle := sorted(set(self.tasks) - scheduled):
            raise ValueError(
                f"tasks without a budget in any stage: {', '.join(idle)}; scheduled are {', '.join(sorted(scheduled))}"
            )
        for stage in self.stages:
            try:
                self._data_of(stage)
            except ValidationError as error:
                raise ValueError(explain(error, DataConfig, f"stage {stage.name!r}")) from error
        if not self.encoder.init_from and self.longest_row > self.encoder.maximum_positions:
            raise ValueError(f"row_length {self.longest_row} is more than maximum_positions {self.encoder.maximum_positions}")
        return self

    def _data_of(self, stage: Stage) -> DataConfig:
        return DataConfig.model_validate(self.data.model_dump() | stage.shape)

    @property
    def stage_data(self) -> tuple[DataConfig, ...]:
        """Shape of the steps of each stage: its own where it says so, else that of `data`."""
        return tuple(self._data_of(stage) for stage in self.stages)

    @property
    def longest_row(self) -> int:
        """Tokens of the longest row that the encoder sees, in training or on held-out text."""
        return max(data.row_length for data in (self.data, *self.stage_data))

    def check_workers(self, workers: int) -> None:
        """Refuse a number of workers that cannot share the groups of every stage evenly."""
        for stage, data in zip(self.stages, self.stage_data, strict=True):
            try:
                data.check_workers(workers)
            except UserError as error:
                raise UserError(f"stage {stage.name!r}: {error}") from None


def load_run_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run's YAML, apply `key.sub=value` overrides and validate.

    Raises:
        UserError: The file cannot be read, a key is unknown, or a value is not accepted.
    """
    if not path.is_file():
        raise UserError(f"no config file {path}")
    try:
        loaded = OmegaConf.load(path)
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from error
    if not OmegaConf.is_dict(loaded):
        raise UserError(f"{path} holds no mapping of settings")
    return validate(RunConfig, loaded, overrides, str(path))
