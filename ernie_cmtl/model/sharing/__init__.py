"""How tasks share an encoder. One mode a file; its name is the name of the file. A mode writes a
table, and nothing behind the table knows of modes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from ernie_cmtl.errors import UserError
from ernie_cmtl.plugins import Plugins
from ernie_cmtl.records import IntArray
from ernie_cmtl.settings import explain

TRUNK = ""
"""Group of the tasks that run through the layers of the encoder itself."""


class SharingConfig(BaseModel):
    """Which mode tasks share an encoder by; the other keys are its options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    mode: str = "hard"
    """How tasks share layers: the name of a file in `model/sharing`, or of a plug-in."""


class SharingOptions(BaseModel):
    """Options of a mode; one that has any adds them by subclassing."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class SharedTask:
    """What a mode may know of a task."""

    name: str
    family: str
    """lexical, syntactic or semantic."""
    begins: int
    """First step of the first stage that serves it."""
    has_classes: bool = False
    """Does a head of its own predict classes of tokens or sequences."""


@dataclass(frozen=True)
class Splitting:
    """When and how groups of tasks are split while a run trains."""

    every: int
    """Steps between decisions. Each stage also starts with one."""
    threshold: float
    """Parts of a group stay together while the mean cosine of their gradients is at least this."""
    samples: int
    """Held-out samples per task for each decision."""


@dataclass(frozen=True)
class Grouping:
    """What a decision came to."""

    step: int
    """First step that it holds for."""
    groups: tuple[str, ...]
    """Of each task that the run had then, the name of its branch or TRUNK."""


@dataclass(frozen=True)
class SharingTable:
    """Which sequences run through which layers."""

    groups: tuple[str, ...] = ()
    """Of each task, the name of its branch or TRUNK; empty: all on the trunk."""
    private_layers: int = 0
    """So many of the last layers are a group's own."""
    beginnings: tuple[int, ...] = ()
    """Of each branch, the step before which it becomes a copy of the trunk."""
    rank: int = 0
    """Of the parts that a group has beside each matrix of its private layers, in place of copies of
    them; 0: copies.
    """
    strength: float = 0.0
    """Of the pull of the copies of a layer to their mean; 0: none."""
    levels: tuple[int | None, ...] = ()
    """Of each task, the layer that its own heads read, counted from 1, None for the last one;
    empty: all read the last one.
    """
    feeds: bool = False
    """Do the predictions of a task go up to those of higher levels."""
    splitting: Splitting | None = None
    """All tasks begin on the trunk, and decisions move them to their branches; None: the table says
    from the start when a branch begins.
    """
    decisions: tuple[Grouping, ...] = ()
    """Those of the splitting so far, in order of step."""

    @property
    def branches(self) -> tuple[str, ...]:
        """Names of the groups beside the trunk, in the order of their first tasks."""
        return tuple(dict.fromkeys(group for group in self.groups if group != TRUNK))

    @property
    def copied(self) -> tuple[str, ...]:
        """Names of the branches that are copies of layers."""
        return () if self.rank else self.branches

    def groups_at(self, step: int) -> tuple[str, ...]:
        """Return the group of each task in a step. Tasks of a branch that has not begun are on the
        trunk.
        """
        if self.splitting:
            made = [decision.groups for decision in self.decisions if decision.step <= step]
            found = made[-1] if made else ()
            # A task that joined the run after the decision.
            return found + (TRUNK,) * (len(self.groups) - len(found))
        begins = dict(zip(self.branches, self.beginnings, strict=True)) | {TRUNK: 0}
        return tuple(group if begins[group] <= step else TRUNK for group in self.groups)

    def route(self, step: int) -> IntArray:
        """Return the branch of each task in a step, counted from 1, 0 for the trunk; int64
        [tasks].
        """
        numbers = {name: number for number, name in enumerate((TRUNK, *self.branches))}
        return np.array([numbers[group] for group in self.groups_at(step)], dtype=np.int64)

    def beginning_at(self, step: int) -> dict[str, str]:
        """Return the branches that begin at a step, each with the group whose layers it copies."""
        before, now = self.groups_at(step - 1), self.groups_at(step)
        return {
            group: parent
            # Backwards: the first task of a branch has the last word on where it came from.
            for group, parent in reversed(list(zip(now, before, strict=True)))
            if group not in {TRUNK, *before}
        }

    def begun_by(self, step: int) -> list[str]:
        """Return the branches that have begun before a step or begin at it."""
        begun = self.groups_at(step)
        return [name for name in self.branches if name in begun]


HARD = SharingTable()
"""All tasks on the trunk."""


class SharingMode(ABC):
    """One mode."""

    Options: ClassVar[type[SharingOptions]] = SharingOptions

    def __init__(self, options: SharingOptions) -> None:
        self.options = options

    @abstractmethod
    def table(self, tasks: Sequence[SharedTask], layers: Callable[[], int]) -> SharingTable:
        """Return the table for the tasks of a run, in the order of their rows.

        layers: returns the number of the encoder's, for which a checkpoint may have to be looked
        up.

        Raises:
            UserError: An option does not fit the tasks or the layers.
        """


SHARING_MODES = Plugins(
    SharingMode,  # type: ignore[type-abstract]
    "sharing mode",
    package=__name__,
    group="ernie_cmtl.sharing_modes",
)


def sharing_table(
    config: SharingConfig, tasks: Sequence[SharedTask], layers: Callable[[], int]
) -> SharingTable:
    """Return the table of the mode that the settings name.

    Raises:
        UserError: There is no such mode, or an option is not accepted or does not fit.
    """
    mode = SHARING_MODES.find(config.mode)
    try:
        options = mode.Options.model_validate(config.model_extra or {})
    except ValidationError as error:
        raise UserError(explain(error, mode.Options, "sharing")) from error
    return mode(options).table(tasks, layers)


def table_of_groups(
    groups: Mapping[str, str], tasks: Sequence[SharedTask], private_layers: int, **other: Any
) -> SharingTable:
    """Return the table of tasks in groups that have the last layers for themselves.

    groups: name of each task's group; one that is not there is on the trunk, as is the whole group
    of the first task.
    """
    first = groups.get(tasks[0].name)
    placed = [groups.get(task.name, TRUNK) for task in tasks]
    placed = [TRUNK if group == first else group for group in placed]
    begins: dict[str, int] = {}
    for task, group in zip(tasks, placed, strict=True):
        begins[group] = min(begins.get(group, task.begins), task.begins)
    branches = dict.fromkeys(group for group in placed if group != TRUNK)
    if not branches:
        return SharingTable()
    return SharingTable(
        tuple(placed), private_layers, tuple(begins[group] for group in branches), **other
    )


def check_layers(asked: int, layers: int) -> None:
    """Refuse more private layers than there are.

    Raises:
        UserError: There are.
    """
    if asked > layers:
        raise UserError(
            f"sharing.layers {asked} is more than the encoder has; accepted are 1 to {layers}"
        )
