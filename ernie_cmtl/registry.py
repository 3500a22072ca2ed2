"""Task name -> task class. A task is a module of the package `pretrain_tasks` with one class; its file name is its name."""

import importlib
import inspect
import pkgutil
from typing import Any

import numpy as np

import pretrain_tasks
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import Vocabulary
from ernie_cmtl.task import PretrainTask


def task_names() -> list[str]:
    """Return the names of all registered tasks, sorted."""
    names = (module.name for module in pkgutil.iter_modules(pretrain_tasks.__path__))
    return sorted(name for name in names if not name.startswith("_"))


def find_task(name: str) -> type[PretrainTask]:
    """Return the class of a task.

    Raises:
        UserError: There is no task of this name; the message lists those that exist.
    """
    names = task_names()
    if name not in names:
        raise UserError(f"no task named {name!r}; registered are {', '.join(names)}")
    module = importlib.import_module(f"pretrain_tasks.{name}")
    found = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, PretrainTask) and member.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise UserError(f"pretrain_tasks/{name}.py must hold exactly one PretrainTask, found {len(found)}")
    return found[0]


def describe_task(name: str) -> dict[str, Any]:
    """Return what a table of tasks says of one, with default options."""
    kind = find_task(name)
    nothing = np.zeros(0, dtype=np.int64)
    heads = kind(kind.Options(), Vocabulary(0, 0, 0, 0, 0, nothing.astype(bool), nothing)).heads
    return {
        "name": name,
        "family": kind.family,
        "layers": list(kind.layers),
        "heads": [{"name": head.name, "kind": head.kind, "classes": head.classes} for head in heads],
        "languages": list(kind.languages),
        "source": kind.source,
    }
