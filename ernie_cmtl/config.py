"""The configuration of a run: each part's own settings, composed; strict, from YAML and dotted
overrides.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ernie_cmtl.data.step_shape import DataConfig
from ernie_cmtl.errors import UserError, choices
from ernie_cmtl.model.encoder import encoder_family
from ernie_cmtl.model.encoder_config import EncoderConfig
from ernie_cmtl.model.sharing import SharingConfig
from ernie_cmtl.scheduling.feedback import FeedbackConfig
from ernie_cmtl.scheduling.plan import Mode
from ernie_cmtl.scheduling.presets import Preset
from ernie_cmtl.scheduling.rounding import round_table
from ernie_cmtl.scheduling.stages import Stage, StageTable
from ernie_cmtl.settings import explain, load, validate
from ernie_cmtl.training.loss_weighting import LossWeightingConfig, check_rule
from ernie_cmtl.training.optimizer import OptimizerConfig
from ernie_cmtl.training.training_config import TrainingConfig


class TaskConfig(BaseModel):
    """How a run uses a task: `type` names the task, by default the instance's own name; the other
    keys are its options.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str | None = None
    """Name of the registered task. none: the name of the instance."""
    loss_weight: float = Field(1.0, gt=0)
    """Factor of the task's loss, in addition to its share of the step."""

    @property
    def options(self) -> dict[str, Any]:
        """The task's own options."""
        return dict(self.model_extra or {})


class RunConfig(BaseModel):
    """Everything that a run is made of.

    Two keys of a file are no settings but ways to write `stages`: `preset` (see
    `scheduling.presets`), and `unit: tokens`, with which budgets count tokens.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    SHORTHANDS: ClassVar[tuple[str, ...]] = ("preset", "unit")

    run: Path
    """Folder of the run. In the `config.yaml` of a run folder this value is ignored: it is that
    folder.
    """
    corpus: Path
    """Folder that `prepare` wrote. In the `config.yaml` of a run folder, a relative path starts
    there.
    """
    seed: int = Field(1, ge=0)
    """Random seed of weights, samples and dropout. The same seed gives the same run."""
    mixture: dict[str, float] | None = None
    """Source of the corpus -> its share of the training tokens; shares sum to 1. none: the corpus's
    own mixture.
    """
    spans: tuple[str, ...] | None = None
    """Span layers for tasks without their own `masking.spans`. none: all that the corpus has when
    the run begins.
    """
    tasks: dict[str, TaskConfig] = {}
    """Instance name -> type and options; a task of the stage table that is not listed has its
    defaults.
    """
    stages: list[Stage] = Field(min_length=1)
    mode: Mode = "mixed"
    """mixed: every step trains all tasks of its stage. one_task: each step trains one task, as in
    the paper.
    """
    feedback: FeedbackConfig | None = None
    """Adjusts budgets within a stage, based on held-out scores. none: the stage table does not
    change.
    """
    data: DataConfig = DataConfig()
    encoder: EncoderConfig = EncoderConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    loss_weighting: LossWeightingConfig = LossWeightingConfig()
    """How much the loss of each head and task counts, beside the task's share of the step."""
    sharing: SharingConfig = SharingConfig()
    """Which layers tasks share."""
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="before")
    @classmethod
    def _write_stages(cls, values: Any) -> Any:
        return write_stages(values) if isinstance(values, dict) else values

    @field_validator("tasks")
    @classmethod
    def _names(cls, tasks: dict[str, TaskConfig]) -> dict[str, TaskConfig]:
        for name in tasks:
            if not name.isidentifier():
                raise ValueError(
                    f"instance name {name!r} is not made of letters, digits and underscores"
                )
        return tasks

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
        names = [stage.name for stage in self.stages]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"stage names must differ; repeated: {', '.join(repeated)}")
        if self.training.sharding == "full" and self.optimizer.kind == "muon":
            raise ValueError(
                "training.sharding 'full' cuts up the matrices that optimizer.kind 'muon' needs; "
                "accepted: adamw"
            )
        check_rule(
            self.loss_weighting,
            self.mode,
            self.training.heldout.every,
            moves_budgets=self.feedback is not None,
        )
        self._check_window()
        if self.encoder.given_of_families:
            self._check_family()
        scheduled = {task for stage in self.stages for task in stage.budgets}
        if idle := sorted(set(self.tasks) - scheduled):
            raise ValueError(
                f"tasks without a budget in any stage: {', '.join(idle)}; "
                f"{choices(idle[0], sorted(scheduled), 'budgets are given to')}; correct the name "
                "here or in the stages, or take the task out (tasks={} takes all out)"
            )
        for stage in self.stages:
            try:
                self._data_of(stage)
            except ValidationError as error:
                raise ValueError(explain(error, DataConfig, f"stage {stage.name!r}")) from error
        if not self.encoder.init_from and self.longest > self.encoder.maximum_positions:
            raise ValueError(
                f"samples of {self.longest} tokens are longer than maximum_positions "
                f"{self.encoder.maximum_positions}"
            )
        return self

    def _check_window(self) -> None:
        window, longest = self.encoder.local_attention, self.data.row_length
        if window and window > longest:
            raise ValueError(
                f"encoder.local_attention {window} is wider than a row (data.row_length "
                f"{longest}); accepted: 2 to {longest}; left out, every layer sees all"
            )

    def _check_family(self) -> None:
        try:
            family = encoder_family(self.encoder.architecture)
        except UserError:
            # Said where the encoder is built: the files of a run can be read without its plug-ins.
            return
        family.settled(self.encoder)

    def _data_of(self, stage: Stage) -> DataConfig:
        return DataConfig.model_validate(self.data.model_dump() | stage.shape)

    @property
    def stage_data(self) -> tuple[DataConfig, ...]:
        """Shape of the steps of each stage: its own where it says so, else that of `data`."""
        return tuple(self._data_of(stage) for stage in self.stages)

    @property
    def longest(self) -> int:
        """Most tokens of a sample that the encoder sees, in training or on held-out text."""
        return max(data.longest for data in (self.data, *self.stage_data))

    def check_tasks(self) -> None:
        """Refuse more tasks than the encoder has rows for in its task embedding."""
        tasks = StageTable(self.stages).tasks
        most = encoder_family(self.encoder.architecture).most_tasks(self.encoder)
        if most is not None and len(tasks) > most:
            raise UserError(
                f"the stages have {len(tasks)} tasks, and the task embedding has rows for {most}: "
                f"take {', '.join(tasks[most:])} out, or set encoder.task_embedding=off"
            )

    def check_workers(self, workers: int) -> None:
        """Refuse a number of workers that cannot share the groups of every stage evenly."""
        for stage, data in zip(self.stages, self.stage_data, strict=True):
            try:
                data.check_workers(workers)
            except UserError as error:
                raise UserError(f"stage {stage.name!r}: {error}") from None


def write_stages(values: dict[str, Any]) -> dict[str, Any]:
    """Replace the keys `preset` and `unit` of a run's settings by the stage table and the task
    options that they mean.

    Raises:
        UserError: The unit is unknown, the preset is not valid, or stages are given beside it.
    """
    kept = {key: value for key, value in values.items() if key not in RunConfig.SHORTHANDS}
    unit = values.get("unit", "iterations")
    if unit not in ("iterations", "tokens"):
        raise UserError(f"unknown unit {unit!r} of the budgets; accepted: iterations, tokens")
    if values.get("preset") is None:
        return kept if unit == "iterations" else kept | {"stages": _stages_of_tokens(kept)}
    if kept.get("stages"):
        raise UserError("a run has a preset or stages, not both")
    preset = validate(Preset, values["preset"], (), "preset")
    per_step = 1 if unit == "iterations" else _tokens_per_step(kept)
    kept["stages"] = [stage.model_dump(exclude_none=True) for stage in preset.stages(per_step)]
    if preset.masks_tokens:
        given = kept.get("tasks") or {}
        kept["tasks"] = given | {
            name: {"masked_tokens": True} | (given.get(name) or {}) for name in preset.tasks
        }
    return kept


def _tokens_per_step(values: dict[str, Any], shape: dict[str, int] | None = None) -> int:
    data = validate(DataConfig, (values.get("data") or {}) | (shape or {}), (), "data")
    return data.rows * data.row_length


def _stages_of_tokens(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return hand-written stages with budgets in iterations in place of tokens."""
    stages = [Stage.model_validate(stage) for stage in values.get("stages") or []]
    if not stages:
        return []
    tasks = StageTable(stages).tasks
    sizes = [_tokens_per_step(values, stage.shape) for stage in stages]
    table = [
        [Fraction(stage.budgets.get(task, 0), size) for task in tasks]
        for stage, size in zip(stages, sizes, strict=True)
    ]
    rows = [
        {task: budget for task, budget in zip(tasks, row, strict=True) if budget}
        for row in round_table(table)
    ]
    return [
        stage.model_dump(exclude_none=True) | {"budgets": row}
        for stage, row in zip(stages, rows, strict=True)
    ]


def load_run_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run's YAML, apply `key.sub=value` overrides and validate.

    Raises:
        UserError: The file cannot be read, a key is unknown, or a value is not accepted.
    """
    return load(RunConfig, path, overrides)
