"""Whose layers an export holds, where tasks have layers of their own."""

from collections.abc import Sequence
from typing import Any

from ernie_cmtl.errors import UserError, choices
from ernie_cmtl.model.branches import give_to_trunk
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.model.sharing import TRUNK
from ernie_cmtl.task_instance import TaskInstance

TRUNK_VIEW, MEAN = "trunk", "mean"


def take_view(
    model: MultiTaskModel, instances: Sequence[TaskInstance], step: int, view: str | None
) -> dict[str, Any]:
    """Put the layers of a view in the place of the trunk's, and return what an export says of it:
    its name, and the tasks that ran through these layers.

    step: so many were taken; view: name of a group or task, "trunk", or "mean" of all copies; None
    means the trunk.

    Raises:
        UserError: There is no such view.
    """
    names = [instance.name for instance in instances]
    table = model.sharing
    if not table.branches:
        if view not in (None, TRUNK_VIEW):
            raise UserError(
                f"--view {view!r}: the tasks of this run share every layer (sharing.mode hard), so "
                "there is one view; leave --view out"
            )
        return {"view": TRUNK_VIEW, "tasks_of_view": names}
    # A branch that has not begun is no view: its tasks are still on the trunk.
    numbers = dict(zip(names, table.route(max(0, step - 1)).tolist(), strict=True))
    groups = {task: (TRUNK, *table.branches)[number] for task, number in numbers.items()}
    family = model.family
    if view == MEAN and table.strength:
        begun = dict.fromkeys(groups.values())
        give_to_trunk(family.layers, family.branches, list(begun))
        return {"view": MEAN, "tasks_of_view": names}
    accepted = dict.fromkeys([TRUNK_VIEW, *filter(None, groups.values()), *names])
    if view == MEAN:
        raise UserError(
            "--view 'mean' needs copies that are pulled together (sharing.mode soft); "
            f"{choices('', accepted, 'accepted are')}"
        )
    if view is not None and view not in accepted:
        raise UserError(f"the run has no view {view!r}; {choices(view, accepted, 'accepted are')}")
    chosen = TRUNK if view in (None, TRUNK_VIEW) else groups.get(str(view), str(view))
    if model.low_rank:
        model.low_rank.leave(family.layers, chosen or None)
    else:
        give_to_trunk(family.layers, family.branches, [chosen])
    users = [task for task, group in groups.items() if group == chosen]
    return {"view": chosen or TRUNK_VIEW, "tasks_of_view": users}
