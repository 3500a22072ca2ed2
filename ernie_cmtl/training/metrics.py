"""What a run writes down while it goes: lines of JSON, and numbers for its trackers."""

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from ernie_cmtl.atomic_files import open_to_append, write_problem, write_text
from ernie_cmtl.errors import UserError

_log = logging.getLogger(__name__)

Track = Callable[[dict[str, float], int], None]
"""Takes numbers by name, and the steps completed; raises UserError where a tracker fails."""


_NEEDED = {"heldout": {"tasks"}, "skipped": {"tasks"}}
"""What is read back of some kinds of lines."""


def read_metrics(path: Path, kind: str) -> list[dict[str, Any]]:
    """Return the sound lines of a kind that a run has written to its log, in order; none if it has
    no log.
    """
    parsed = map(_parsed, _complete_lines(path))
    return [line for line in parsed if line and line["kind"] == kind]


def damaged_lines(path: Path) -> Path:
    """Return the file to which the damaged lines of a log are moved."""
    return path.with_suffix(f".damaged{path.suffix}")


def _complete_lines(path: Path) -> list[bytes]:
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    # What follows the last line break was not written to its end.
    return lines[:-1]


def _parsed(text: bytes) -> dict[str, Any] | None:
    """Return what a line says; None if it is damaged."""
    try:
        line = json.loads(text.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or type(line.get("step")) is not int:
        return None
    kind = line.get("kind")
    return line if isinstance(kind, str) and _NEEDED.get(kind, set()) <= line.keys() else None


class MetricsLog:
    """Appends to the log of a run, `metrics.jsonl`, and passes numbers on; on the main worker only.

    A full disk stops no run here: what cannot be written is said once, kept, and tried again with
    every line and at the end.
    """

    def __init__(
        self, path: Path, track: Track, resumed_at: int, say: Callable[[str], None] = _log.warning
    ) -> None:
        """say: is told what cannot be written, and when it is.

        Raises:
            UserError: The file cannot be written.
        """
        self._path = path
        self._track, self._say = track, say
        self._unwritten = b""
        self._behind: dict[Path, Callable[[], None]] = {}
        try:
            self._drop_after(resumed_at)
            # Without a buffer, which would lose lines where the disk takes a part of it.
            self._stream = open_to_append(self._path)
        except OSError as error:
            raise UserError(write_problem(self._path, error)) from error

    def _drop_after(self, step: int) -> None:
        """Forget what was written after the checkpoint that the run resumes from, and move damaged
        lines to a file of their own; without a checkpoint the log begins anew.
        """
        kept, damaged = [], []
        for text in _complete_lines(self._path) if step else ():
            line = _parsed(text)
            if line is None:
                damaged.append(text)
            elif line["step"] <= step:
                kept.append(text.decode())
        if damaged:
            aside = damaged_lines(self._path)
            with open_to_append(aside) as stream:
                stream.write(b"".join(text + b"\n" for text in damaged))
            self._say(
                f"damaged lines of {self._path}: {len(damaged)}; they were moved to {aside}, and "
                "the run goes on without their numbers"
            )
        write_text(self._path, "".join(f"{text}\n" for text in kept))

    def write(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """Write one line; step: steps completed. Trackers get the numbers as `<kind>/<key>`, nested
        keys joined, the total loss as that of its stage.
        """
        line = {"kind": kind, "step": step, "time": round(time.time(), 3), **values}
        self._unwritten += (json.dumps(line) + "\n").encode()
        self.attempt(self._path, self._append)
        try:
            self._track(dict(_numbers(kind, _by_stage(values))), step)
        except UserError as error:
            self._say(
                f"{error}; the run goes on without it, and {self._path} has all of its numbers"
            )

    def _append(self) -> None:
        while self._unwritten:
            self._unwritten = self._unwritten[self._stream.write(self._unwritten) :]

    def attempt(self, path: Path, write: Callable[[], None]) -> None:
        """Write a file of the run that it can do without for a while; what fails is tried again
        later.
        """
        if path != self._path and self._path in self._behind:
            # What is read off the log waits for it.
            self._behind[path] = write
            return
        try:
            write()
        except OSError as error:
            if path not in self._behind:
                self._say(
                    f"{write_problem(path, error)}; the run goes on, and what is missing there is "
                    "kept and tried again"
                )
            self._behind[path] = write
        else:
            if self._behind.pop(path, None):
                self._say(f"{path} is written again and lacks nothing")

    def finish(self) -> None:
        """Write what could not be written so far.

        Raises:
            UserError: It still cannot; the message names the files.
        """
        self._try_again()
        if self._behind:
            names = ", ".join(map(str, self._behind))
            raise UserError(
                "the disk did not take all that was logged: lines or numbers are missing in "
                f"{names}"
            )

    def _try_again(self) -> None:
        for path, write in tuple(self._behind.items()):
            self.attempt(path, write)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._try_again()
        self._stream.close()


def _by_stage(values: dict[str, Any]) -> dict[str, Any]:
    """Name the total loss by its stage: other tasks make other totals, which one curve would
    compare.
    """
    if "stage" not in values or "loss" not in values:
        return values
    rest = {name: value for name, value in values.items() if name != "loss"}
    return rest | {"total_loss_of_stage": {values["stage"]: values["loss"]}}


def _numbers(prefix: str, values: dict[str, Any]) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _numbers(f"{prefix}/{name}", value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((f"{prefix}/{name}", float(value)))
    return found
