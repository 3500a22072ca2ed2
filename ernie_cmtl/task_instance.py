"""A task as one run uses it: its name, its row of the task embedding and its heads."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ernie_cmtl.records import MASKED_TOKEN
from ernie_cmtl.task import MASKED_TOKEN_HEAD, HeadSpec, PretrainTask


@dataclass(frozen=True)
class TaskInstance:
    """A task as one run uses it."""

    name: str
    """Instance name: key in the config, prefix of heads and metrics."""
    row: int
    """Row of the task embedding, in order of introduction."""
    task: PretrainTask
    loss_weight: float = 1.0
    """Factor of its loss, beside its share of the step."""
    drawn_rows: tuple[int, ...] = ()
    """Rows that its samples draw from where the task embedding is shuffled; empty: each has its
    own.
    """

    level: int | None = None
    """Layer that its own heads read, counted from 1; None: each head's own choice, the last by
    default.
    """

    @property
    def rows(self) -> tuple[int, ...]:
        """Rows of the task embedding that its samples may have."""
        return self.drawn_rows or (self.row,)

    @cached_property
    def specs(self) -> tuple[HeadSpec, ...]:
        """What its examples are labelled for: the task's own heads, and masked tokens where the
        option asks for them.
        """
        own = self.task.heads
        if self.level is not None:
            own = tuple(
                spec if spec.name == MASKED_TOKEN else replace(spec, encoder_layer=self.level)
                for spec in own
            )
        return (*own, MASKED_TOKEN_HEAD) if self.task.options.masked_tokens else own

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Layers that its examples are made of."""
        return self.task.passage_layers

    @cached_property
    def heads(self) -> dict[str, HeadSpec]:
        """Run-wide head name -> what it predicts."""
        return {self.head_name(spec): spec for spec in self.specs}

    def head_name(self, spec: HeadSpec) -> str:
        """Return the run-wide name of a head."""
        return spec.name if spec.name == MASKED_TOKEN else f"{self.name}/{spec.name}"


def run_heads(instances: Sequence[TaskInstance]) -> dict[str, HeadSpec]:
    """Return every head of a run by its name, sorted: the same on all workers, the vocabulary head
    always among them.
    """
    heads = {MASKED_TOKEN: MASKED_TOKEN_HEAD}
    for instance in instances:
        heads |= instance.heads
    return {name: heads[name] for name in sorted(heads)}
