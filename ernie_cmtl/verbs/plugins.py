"""Modules of the user's own, named on the command line, for every verb that needs them."""

from typing import Any

from ernie_cmtl.export.writer import EXPORT_FORMATS
from ernie_cmtl.head_kinds import HEAD_KINDS
from ernie_cmtl.model.encoder import ENCODERS
from ernie_cmtl.model.sharing import SHARING_MODES
from ernie_cmtl.plugins import Plugins, add_to_its_kind
from ernie_cmtl.task_registry import TASKS
from ernie_cmtl.training.loss_weighting import LOSS_WEIGHTINGS

KINDS: tuple[Plugins[Any], ...] = (
    *(TASKS, ENCODERS, HEAD_KINDS, SHARING_MODES, LOSS_WEIGHTINGS),
    EXPORT_FORMATS,
)
"""What a module may add; layers of a corpus belong to `prepare`."""


def add_plugin(module: str) -> str:
    """Register the class of a module for this process, whatever it adds, and return its name.

    Raises:
        UserError: The module is broken, does not hold exactly one class of these kinds, or its name
            is taken.
    """
    return add_to_its_kind(module, KINDS)
