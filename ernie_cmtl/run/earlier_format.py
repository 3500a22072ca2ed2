"""Settings that a run of an earlier version wrote -> those of today."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ernie_cmtl.config import RunConfig
from ernie_cmtl.task import TaskOptions
from ernie_cmtl.training.training_config import TrainingConfig


def with_new_names(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run with each old key under its new name."""
    found = dict(settings)
    if "training" in settings:
        found["training"] = _renamed(settings["training"], TrainingConfig.RENAMED)
    if isinstance(tasks := settings.get("tasks"), dict):
        found["tasks"] = {
            name: _renamed(options, TaskOptions.RENAMED) for name, options in tasks.items()
        }
    return found


def settings_of_today(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings in a checkpoint with the keys that a run has today: new names for old
    ones, and defaults for those that came later.
    """
    renamed = with_new_names(settings)
    if isinstance(encoder := renamed.get("encoder"), dict):
        # Where none are named, an earlier version had learned positions in every family.
        renamed["encoder"] = {"positions": "learned"} | encoder
    try:
        return RunConfig.model_validate(renamed).model_dump(mode="json")
    except ValidationError:
        # Not accepted any more: they are compared as they were, and the message names the keys.
        return renamed


def _renamed(values: Any, names: Mapping[str, str]) -> Any:
    """Return a mapping with its old keys under their new dotted names; all else stays.

    A key whose new group is there already stays too: the file is not of an earlier version.
    """
    if not isinstance(values, dict):
        return values
    moved: dict[str, Any] = {}
    kept = dict(values)
    for old, new in names.items():
        *groups, name = new.split(".")
        if old in values and [*groups, name][0] not in values:
            inner = moved
            for group in groups:
                inner = inner.setdefault(group, {})
            inner[name] = kept.pop(old)
    return kept | moved
