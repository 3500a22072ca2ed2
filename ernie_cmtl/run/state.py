"""What a checkpoint says of its run, beside weights, moments and the ledger."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pydantic import BaseModel

from ernie_cmtl.foreign_files import checked
from ernie_cmtl.run.earlier_format import settings_of_today


class _Settings(BaseModel):
    """What is taken apart in them, also where they are not accepted any more."""

    stages: list[dict[str, Any]]
    data: dict[str, Any]
    encoder: dict[str, Any]
    optimizer: dict[str, Any]


@dataclass(frozen=True)
class RunState:
    """The state of a run at one step, as `state.json` of a checkpoint holds it under `run`."""

    settings: dict[str, Any]
    """The resolved configuration."""
    pin: str
    """Name of what the run reads of its corpus."""
    tasks: list[str]
    """Task instances, in the order of their rows."""
    feedback: dict[str, Any]
    """Measurements and revisions so far."""
    workers: int | None = None
    """None in checkpoints of earlier versions, as below."""
    precision: str | None = None
    """That `auto` came to."""
    loss_weighting: dict[str, Any] = field(default_factory=dict)
    """What the rule has come to."""
    sharing: dict[str, Any] = field(default_factory=dict)
    """Decisions that split groups of tasks so far."""
    gradient_norms: list[float] = field(default_factory=list)
    """The window that spikes are judged by."""
    content: dict[str, Any] = field(default_factory=dict)
    """What the pin covers, part by part (`corpus.store.content`); empty in earlier versions."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self)

    @staticmethod
    def of_json(values: Mapping[str, Any]) -> "RunState":
        """Return what a checkpoint holds, which an earlier version may have written.

        Raises:
            UserError: It is not what a checkpoint says of a run.
        """
        state = checked(dict(values), RunState, "the state of a checkpoint")
        settings = settings_of_today(state.settings)
        checked(settings, _Settings, "the settings in a checkpoint")
        return replace(state, settings=settings)
