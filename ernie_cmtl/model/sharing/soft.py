"""Every task has a copy of the layers, and the copies are pulled to their mean (Duong et al. 2015;
Evgeniou and Pontil 2004).
"""

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import Field, PositiveInt

from ernie_cmtl.errors import UserError
from ernie_cmtl.model.sharing import (
    SharedTask,
    SharingMode,
    SharingOptions,
    SharingTable,
    check_layers,
    table_of_groups,
)


class SoftOptions(SharingOptions):
    """How many layers are copied, and how strong the pull is."""

    layers: PositiveInt | Literal["all"] = "all"
    """Number of last layers that every task has its own copy of."""
    strength: float = Field(0.01, ge=0)
    """Factor of the penalty: the sum of squared distances between the copies of a layer and their
    mean.
    """


class Soft(SharingMode):
    """Own layers for every task; embeddings and the sequence transform stay shared."""

    Options = SoftOptions
    options: SoftOptions

    def table(self, tasks: Sequence[SharedTask], layers: Callable[[], int]) -> SharingTable:
        """Return a branch for each task but the first.

        Raises:
            UserError: There are fewer layers, or only one task.
        """
        depth = layers()
        asked = depth if self.options.layers == "all" else self.options.layers
        check_layers(asked, depth)
        if len(tasks) < 2:
            raise UserError(
                f"sharing.mode 'soft' needs at least two tasks, and the run has {tasks[0].name!r} "
                "alone; accepted: hard"
            )
        groups = {task.name: task.name for task in tasks}
        return table_of_groups(groups, tasks, asked, strength=self.options.strength)
