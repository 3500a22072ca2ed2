"""Tasks begin together and part where their gradients disagree (task affinity: Fifty et al. 2021;
gradient similarity: Wang et al. 2023).
"""

from collections.abc import Callable, Sequence

from pydantic import Field

from ernie_cmtl.errors import UserError
from ernie_cmtl.model.sharing import (
    TRUNK,
    SharedTask,
    SharingMode,
    SharingOptions,
    SharingTable,
    Splitting,
    check_layers,
)


class RelatedOptions(SharingOptions):
    """How many layers tasks may part in, and when they do."""

    layers: int = Field(1, ge=1)
    """Number of last layers that a group has for itself after a split."""
    every: int = Field(2000, ge=1)
    """Steps between decisions. Each stage also starts with one."""
    threshold: float = Field(0.0, ge=-1, le=1)
    """Tasks are split if the mean cosine of their gradients is below this."""
    samples: int = Field(256, ge=2)
    """Held-out samples per task for each decision."""


class Related(SharingMode):
    """A branch for each task but the first, which decisions put to use."""

    Options = RelatedOptions
    options: RelatedOptions

    def table(self, tasks: Sequence[SharedTask], layers: Callable[[], int]) -> SharingTable:
        """Return a table in which all tasks begin on the trunk.

        Raises:
            UserError: There are fewer layers, or only one task.
        """
        check_layers(self.options.layers, layers())
        if len(tasks) < 2:
            raise UserError(
                f"sharing.mode 'related' compares tasks, and the run has {tasks[0].name!r} alone; "
                "accepted: hard"
            )
        return SharingTable(
            (TRUNK, *(task.name for task in tasks[1:])),
            self.options.layers,
            splitting=Splitting(self.options.every, self.options.threshold, self.options.samples),
        )
