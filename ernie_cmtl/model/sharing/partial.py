"""Groups of tasks have the last layers for themselves (branched multi-task networks; ERNIE 3.0's
universal and task-specific modules).
"""

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import Field

from ernie_cmtl.errors import UserError, choices
from ernie_cmtl.model.sharing import (
    SharedTask,
    SharingMode,
    SharingOptions,
    SharingTable,
    check_layers,
    table_of_groups,
)


class PartialOptions(SharingOptions):
    """Which tasks share a branch, and how many layers a branch has."""

    layers: int | None = Field(None, ge=1)
    """Number of last layers that each group has for itself. none: 1, or all layers if `rank` is
    set.
    """
    rank: int | None = Field(None, ge=1)
    """Give each group two factors of this rank beside each matrix (LoRA) instead of copies."""
    groups: Literal["family", "task"] | dict[str, list[str]] = "family"
    """Groups of tasks. family: lexical, syntactic, semantic. task: one group per task. Or group ->
    its tasks; other tasks use the trunk.
    """


class Partial(SharingMode):
    """Copies of the last layers, or low-rank parts beside them, for groups of tasks; the group of
    the first task is the trunk.
    """

    Options = PartialOptions
    options: PartialOptions

    def table(self, tasks: Sequence[SharedTask], layers: Callable[[], int]) -> SharingTable:
        """Return which group each task is in.

        Raises:
            UserError: There are fewer layers, or a group names a task that is not there or in
                another group.
        """
        rank, depth = self.options.rank or 0, layers()
        private = self.options.layers or (depth if rank else 1)
        check_layers(private, depth)
        return table_of_groups(self._groups(tasks), tasks, private, rank=rank)

    def _groups(self, tasks: Sequence[SharedTask]) -> dict[str, str]:
        groups = self.options.groups
        if isinstance(groups, str):
            return {task.name: task.family if groups == "family" else task.name for task in tasks}
        names = [task.name for task in tasks]
        found: dict[str, str] = {}
        for group, members in groups.items():
            if not group.isidentifier():
                raise UserError(
                    f"sharing.groups: {group!r} is not made of letters, digits and underscores"
                )
            for member in members:
                if member not in names:
                    raise UserError(
                        f"sharing.groups.{group} names the task {member!r}; "
                        f"{choices(member, names, 'the run has')}"
                    )
                if member in found:
                    raise UserError(
                        f"sharing.groups names the task {member!r} in {found[member]!r} and "
                        f"{group!r}; name it once"
                    )
                found[member] = group
        return found
