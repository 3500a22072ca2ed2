"""What a run remembers to move budgets by feedback, and how that stands in a checkpoint."""

from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

from ernie_cmtl.config import RunConfig
from ernie_cmtl.evaluation.heldout import HeadScore
from ernie_cmtl.foreign_files import checked
from ernie_cmtl.scheduling.feedback import Decision, Measurement, decide, next_decision
from ernie_cmtl.scheduling.plan import Plan, Revision
from ernie_cmtl.scheduling.stages import StageTable


class _History(BaseModel):
    """How it stands in a checkpoint."""

    model_config = ConfigDict(extra="forbid")

    history: list[Measurement]
    revisions: list[Revision]


@dataclass
class Feedback:
    """Measurements and decisions so far; without `feedback` in the configuration there are none."""

    config: RunConfig
    table: StageTable
    history: list[Measurement] = field(default_factory=list)
    revisions: list[Revision] = field(default_factory=list)

    @property
    def plan(self) -> Plan:
        """The plan as it stands now."""
        return Plan(self.table, self.config.mode, self.config.seed, self.revisions)

    def known_until(self, step: int) -> int:
        """Return the step up to which the plan is known: the next decision, or the run's end."""
        feedback = self.config.feedback
        return (feedback and next_decision(step, self.table, feedback.every)) or self.table.steps

    def measures(self, step: int) -> bool:
        """Tell whether it needs held-out scores from before a step."""
        if not self.config.feedback:
            return False
        return (
            step in (0, *self.table.ends[:-1])
            or self.known_until(step - 1) == step < self.table.steps
        )

    def lacks(self, step: int) -> bool:
        """Tell whether those scores are not there: before the first step, and where a finished run
        was extended.
        """
        return self.measures(step) and all(measured.step != step for measured in self.history)

    def measured(self, step: int, scores: dict[str, HeadScore]) -> Decision | None:
        """Remember held-out scores, and decide where it is time."""
        feedback = self.config.feedback
        if not feedback or not self.measures(step):
            return None
        losses: dict[str, dict[str, float]] = {task: {} for task in self.table.tasks}
        for name, score in scores.items():
            task, _, head = name.partition("/")
            losses[task][head] = score["loss"]
        self.history.append(Measurement(step, losses))
        if step in (0, *self.table.ends):
            return None
        decision = decide(feedback, self.plan, step, self.history)
        self.revisions.append(decision.revision)
        return decision

    def state(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "history": [asdict(m) for m in self.history],
            "revisions": [asdict(r) for r in self.revisions],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what a checkpoint holds.

        Raises:
            UserError: It is no history of measurements and revisions.
        """
        found = checked(state, _History, "the feedback of a checkpoint")
        self.history, self.revisions = found.history, found.revisions
