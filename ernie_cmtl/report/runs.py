"""What the folder of a run says, read without trusting it: a line of the log that is not as a run
writes it is counted and skipped.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ernie_cmtl.config import RunConfig
from ernie_cmtl.errors import UserError
from ernie_cmtl.evaluation.retention import retention
from ernie_cmtl.records import Ledger
from ernie_cmtl.run.folder import RunFolder
from ernie_cmtl.run.logged_retention import measurements_of, stages_of
from ernie_cmtl.run.open import saved_config
from ernie_cmtl.run.resume import config_of_checkpoint, read_checkpoint
from ernie_cmtl.scheduling.stages import StageTable
from ernie_cmtl.training.checkpoint import checkpoints
from ernie_cmtl.training.metrics import damaged_lines

_OTHER_KINDS = (
    "damaged",
    "feedback",
    "loss_weighting",
    "settings",
    "sharing",
    "skipped",
    "started",
    "workers",
)


class Score(BaseModel):
    """Of a head, in training or held out."""

    model_config = ConfigDict(allow_inf_nan=True)

    loss: float
    accuracy: float | None = None
    labels: int = 0
    majority: float | None = None
    one_class: bool | None = None
    interval: tuple[float, float] | None = None


class _Line(BaseModel):
    step: int = Field(ge=0)
    time: float = 0.0
    stage: str = ""


class HeldoutLine(_Line):
    """Held-out scores."""

    kind: Literal["heldout"]
    tasks: dict[str, Score]


class TrainLine(_Line):
    """Training over the steps since the line before."""

    kind: Literal["train"]
    loss: float
    tasks: dict[str, Score]
    learning_rate: float
    gradient_norm: float | None
    real_tokens_per_second: float
    packing_efficiency: float
    data_wait_share: float
    consumed: dict[str, int]
    distance: float | None = None


class OtherLine(_Line):
    """An event; its fields depend on its kind."""

    model_config = ConfigDict(extra="allow")

    kind: Literal[_OTHER_KINDS]  # type: ignore[valid-type]

    def get(self, name: str) -> Any:
        """Return a field, or None."""
        return (self.model_extra or {}).get(name)


_LINE: TypeAdapter[HeldoutLine | TrainLine | OtherLine] = TypeAdapter(
    Annotated[HeldoutLine | TrainLine | OtherLine, Field(discriminator="kind")]
)


@dataclass
class ReportedRun:
    """A run as its folder describes it."""

    name: str
    folder: Path
    config: RunConfig
    heldout: list[HeldoutLine] = field(default_factory=list)
    train: list[TrainLine] = field(default_factory=list)
    events: list[OtherLine] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What could not be read."""
    ledger: Ledger | None = None
    """Of the newest checkpoint."""

    @cached_property
    def table(self) -> StageTable:
        """The stage table."""
        return StageTable(self.config.stages)

    @property
    def steps(self) -> int:
        """Steps done, by the log and the newest checkpoint."""
        logged = [line.step for line in (*self.train, *self.heldout)]
        return max([*logged, self.ledger.step if self.ledger else 0])

    @cached_property
    def retention(self) -> dict[str, Any]:
        """Matrix, measures and summary of `evaluation.retention`."""
        known = set(self.table.tasks)
        scores = {
            line.step: {
                head: score.model_dump()
                for head, score in line.tasks.items()
                if head.partition("/")[0] in known
            }
            for line in self.heldout
        }
        return retention(measurements_of(scores), stages_of(self.table))

    def events_of(self, kind: str) -> Iterator[OtherLine]:
        """Yield the events of a kind, in order."""
        return (line for line in self.events if line.kind == kind)


def read_run(path: Path, name: str) -> ReportedRun:
    """Read the folder of a run, also of one that trains at this moment.

    Raises:
        UserError: It is no run folder, or its configuration cannot be read.
    """
    folder = RunFolder(path)
    folder.refuse_links()
    config = saved_config(path)
    run = ReportedRun(name, path, config)
    _read_log(run, folder.metrics)
    if damaged_lines(folder.metrics).is_file():
        run.problems.append(f"damaged lines of the log were set aside in {path}")
    try:
        if found := checkpoints(folder.checkpoints):
            run.ledger, state = read_checkpoint(found[-1])
            run.config = config_of_checkpoint(config, state)
        else:
            run.problems.append("there is no checkpoint yet, so what tasks received is not known")
    except (UserError, OSError) as error:
        # A run that trains may remove it at this moment.
        run.problems.append(f"the newest checkpoint cannot be read: {error}")
    return run


def _read_log(run: ReportedRun, path: Path) -> None:
    try:
        text = path.read_bytes()
    except OSError as error:
        run.problems.append(f"the log cannot be read: {error.strerror}: {path}")
        return
    damaged = 0
    # What follows the last line break is being written.
    for row in text.split(b"\n")[:-1]:
        try:
            line = _LINE.validate_python(json.loads(row))
        except (ValueError, ValidationError, RecursionError):
            damaged += 1
            continue
        if isinstance(line, HeldoutLine):
            run.heldout.append(line)
        elif isinstance(line, TrainLine):
            run.train.append(line)
        else:
            run.events.append(line)
    if damaged:
        run.problems.append(f"lines of the log that cannot be read: {damaged:,}; they are skipped")
    if not (run.heldout or run.train):
        run.problems.append("the log has no scores yet")
