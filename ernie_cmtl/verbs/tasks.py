"""The verb tasks: what is registered."""

from typing import Any

from ernie_cmtl.errors import UserError
from ernie_cmtl.task_registry import describe_task, task_names


def tasks() -> list[dict[str, Any]]:
    """Return what a table says of every task, sorted by name; of a broken one its `name` and the
    `error`.
    """
    return [_describe_any(name) for name in task_names()]


def _describe_any(name: str) -> dict[str, Any]:
    try:
        return describe_task(name)
    except UserError as error:
        return {"name": name, "error": str(error)}
    # Other people's code may fail in any way; the others are listed all the same.
    except Exception as error:
        return {"name": name, "error": f"{type(error).__name__}: {error}"}
