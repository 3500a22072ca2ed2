"""What a checkpoint says of its run, beside weights, moments and the ledger."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ernie_cmtl.run.earlier_format import settings_of_today


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
    gradient_norms: list[float] = field(default_factory=list)
    """The window that spikes are judged by."""
    content: dict[str, Any] = field(default_factory=dict)
    """What the pin covers, part by part (`corpus.store.content`); empty in earlier versions."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self)

    @staticmethod
    def of_json(values: Mapping[str, Any]) -> "RunState":
        """Return what a checkpoint holds, which an earlier version may have written."""
        return RunState(**{**values, "settings": settings_of_today(values["settings"])})
