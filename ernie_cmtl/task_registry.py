"""Task name -> task class. A task is a module with one class; what it is called is the name of its
file.
"""

from typing import Any

import numpy as np

from ernie_cmtl.plugins import Plugins
from ernie_cmtl.records import CorpusProfile, Vocabulary
from ernie_cmtl.task import PretrainTask
from ernie_cmtl.task_instance import TaskInstance

TASKS = Plugins(
    PretrainTask,  # type: ignore[type-abstract]
    "task",
    package="pretrain_tasks",
    group="ernie_cmtl.tasks",
)


def task_names() -> list[str]:
    """Return the names of all registered tasks, sorted."""
    return TASKS.names()


def find_task(name: str) -> type[PretrainTask]:
    """Return the class of a task.

    Raises:
        UserError: There is no task of this name (the message lists those that exist), or it is
            broken.
    """
    return TASKS.find(name)


def add_task_module(module: str) -> str:
    """Register the task of a module that can be imported, for this process, and return its name.

    Raises:
        UserError: The module is broken, does not hold exactly one task, or its name is taken.
    """
    return TASKS.add_module(module)


def describe_task(name: str) -> dict[str, Any]:
    """Return what a table of tasks says of one, with default options."""
    kind = find_task(name)
    nothing = np.zeros(0, dtype=np.int64)
    profile = CorpusProfile(
        kind.languages[0], Vocabulary(0, 0, 0, 0, 0, nothing.astype(bool), nothing), (), ()
    )
    instance = TaskInstance(name, 0, kind(kind.Options(), profile))
    return {
        "name": name,
        "family": kind.family,
        "layers": [*instance.layers, *instance.task.document_layers],
        "heads": [
            {"name": head.name, "kind": head.kind, "classes": head.classes}
            for head in instance.specs
        ],
        "languages": list(kind.languages),
        "citation": kind.citation,
    }
