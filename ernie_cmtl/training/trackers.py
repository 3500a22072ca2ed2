"""Trackers that show metrics elsewhere (TensorBoard, Weights & Biases, MLflow, ...): all that
accelerate knows.
"""

import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers
from accelerate.utils import LoggerType

from ernie_cmtl.atomic_files import write_problem, write_text
from ernie_cmtl.errors import UserError

_log = logging.getLogger(__name__)


class Trackers:
    """The open trackers of a run, which accelerate keeps; one that fails is closed and the others
    continue.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator

    def start(
        self, name: str, settings: Mapping[str, Any], options: dict[str, dict[str, Any]]
    ) -> None:
        """Open every tracker; name: of the run; options: of single trackers. On the main worker.

        Raises:
            UserError: A tracker does not start, for want of an account or a connection.
        """
        try:
            self._accelerator.init_trackers(name, flat_settings(settings), options)
        except Exception as error:  # Each tracker raises its own kinds.
            # What has not been opened cannot be closed.
            self._accelerator.trackers.clear()
            raise UserError(f"a tracker did not start: {error}") from error

    def log(self, values: dict[str, float], step: int) -> None:
        """Send numbers to every tracker; step: steps completed.

        Raises:
            UserError: Some failed, and are let go of; the others have the numbers.
        """
        if problems := self._with_each(lambda tracker: tracker.log(values, step=step)):
            raise UserError(problems)

    def close(self) -> None:
        """Close every tracker, and warn of those that fail at it."""
        if problems := self._with_each(lambda tracker: tracker.finish()):
            _log.warning("%s", UserError(problems))
        self._accelerator.trackers.clear()

    def _with_each(self, use: Callable[[GeneralTracker], None]) -> str:
        """Use every tracker, let go of those that fail, and say why."""
        problems = []
        for tracker in tuple(self._accelerator.trackers):
            try:
                use(tracker)
            except Exception as error:  # Each tracker raises its own kinds.
                self._accelerator.trackers.remove(tracker)
                problems.append(f"tracker {tracker.name} failed: {error}")
        return "; ".join(problems)


def known_trackers() -> list[str]:
    """Return the names that a run may list, installed or not."""
    return sorted(LOGGER_TYPE_TO_CLASS)


def check_installed(trackers: Sequence[str]) -> None:
    """Refuse a tracker whose package is not there.

    Raises:
        UserError: It names the tracker and those that are there.
    """
    absent = {str(kind) for kind in LoggerType} - {str(kind) for kind in get_available_trackers()}
    for name in trackers:
        if name in absent:
            there = [other for other in known_trackers() if other not in absent]
            raise UserError(
                f"tracker {name!r} is not installed: pip install {name}; installed are "
                f"{', '.join(there)}"
            )


def tracker_options(
    trackers: Sequence[str], identifier: Path, resumed_at: int
) -> dict[str, dict[str, Any]]:
    """Return what single trackers need to keep one line of history when a run resumes from a step.

    identifier: file in the run's folder that keeps the name that trackers know it by.
    """
    # A run that begins anew forgets what was measured before its first step too.
    options: dict[str, dict[str, Any]] = {
        "tensorboard": {"purge_step": resumed_at + 1 if resumed_at else 0}
    }
    if "wandb" in trackers:
        options["wandb"] = {
            "id": _identifier(identifier),
            "resume": "allow",
            "dir": str(identifier.parent),
        }
    return options


def _identifier(path: Path) -> str:
    """Return the name of a run that no other run has; made once and kept in a file."""
    if not path.exists():
        try:
            write_text(path, uuid.uuid4().hex)
        except OSError as error:
            raise UserError(write_problem(path, error)) from error
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(
            f"{path} is damaged: it should hold the name that wandb knows the run by; write it "
            "there again, or remove the file for a new one"
        ) from None


def flat_settings(settings: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Turn nested settings into `key.sub` -> value; those that are None are left out."""
    return dict(_flat("", settings))


def _flat(name: str, value: Any) -> Iterator[tuple[str, bool | int | float | str]]:
    inner = (
        value.items()
        if isinstance(value, Mapping)
        else enumerate(value)
        if isinstance(value, list | tuple)
        else None
    )
    if inner is not None:
        for key, part in inner:
            yield from _flat(f"{name}.{key}" if name else str(key), part)
    elif value is not None:
        yield name, value if isinstance(value, bool | int | float | str) else str(value)
