"""Heads of low tasks read lower layers (Søgaard and Goldberg 2016; Sanh et al. 2019), and what they
predict may go up to the tasks above (label embeddings of Hashimoto et al. 2017).
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import PositiveInt

from ernie_cmtl.errors import UserError, choices
from ernie_cmtl.model.sharing import SharedTask, SharingMode, SharingOptions, SharingTable

_THIRDS = {"lexical": 1, "syntactic": 2, "semantic": 3}


class HierarchicalOptions(SharingOptions):
    """Which layer the heads of each task read, and whether predictions go up."""

    levels: Literal["family"] | dict[str, PositiveInt] = "family"
    """Encoder layer that each task reads. family: lexical tasks a third of the way up, syntactic
    two thirds, semantic the last layer. Or task -> layer, counted from 1; other tasks read the last
    one.
    """
    feed: bool = False
    """Add each task's predictions, as label embeddings, to the states of the tasks above it."""


class Hierarchical(SharingMode):
    """Own heads read the layer of their task's level; the vocabulary head reads the last one."""

    Options = HierarchicalOptions
    options: HierarchicalOptions

    def table(self, tasks: Sequence[SharedTask], layers: Callable[[], int]) -> SharingTable:
        """Return the level of each task.

        Raises:
            UserError: A level is beyond the depth, a task is unknown, or nothing can be fed.
        """
        depth = layers()
        self._check(tasks, depth)
        levels = {task.name: self._level(task, depth) for task in tasks}
        lower = [name for name, level in levels.items() if level < depth]
        if self.options.feed and not any(task.has_classes for task in tasks if task.name in lower):
            raise UserError(
                "sharing.feed: no task below the last layer predicts classes; set "
                "sharing.feed=false, or give a task of classes a level from 1 to "
                f"{max(1, depth - 1)}"
            )
        return SharingTable(
            # The last layer is computed only where it is read, the lower ones everywhere.
            levels=tuple(level if name in lower else None for name, level in levels.items()),
            feeds=self.options.feed,
        )

    def _level(self, task: SharedTask, layers: int) -> int:
        if self.options.levels == "family":
            return math.ceil(layers * _THIRDS[task.family] / 3)
        return self.options.levels.get(task.name, layers)

    def _check(self, tasks: Sequence[SharedTask], layers: int) -> None:
        if self.options.levels == "family":
            return
        known = {task.name: task for task in tasks}
        for name, level in self.options.levels.items():
            if name not in known:
                raise UserError(
                    f"sharing.levels names the task {name!r}; {choices(name, known, 'the run has')}"
                )
            if level > layers:
                raise UserError(
                    f"sharing.levels.{name} {level} is beyond the encoder; accepted are 1 to "
                    f"{layers}"
                )
            if self.options.feed and level < layers and not known[name].has_classes:
                raise UserError(
                    f"sharing.feed: task {name!r} predicts no classes, so nothing of it goes up; "
                    f"take it out of sharing.levels, or set sharing.feed=false"
                )
