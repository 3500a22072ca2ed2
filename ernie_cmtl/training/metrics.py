"""What a run writes down while it goes: lines of JSON, and numbers for its trackers."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from ernie_cmtl.files import write_text

Track = Callable[[dict[str, float], int], None]
"""Takes numbers by name, and the steps completed."""


def read_metrics(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Return the complete lines of a kind that a run has written, in order; none if it has no log."""
    return [line for line in map(json.loads, _complete_lines(folder / "metrics.jsonl")) if line["kind"] == kind]


def _complete_lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [line for line in lines if line.endswith("\n")]


class MetricsLog:
    """Appends to `metrics.jsonl` and passes numbers on; on the main worker only."""

    def __init__(self, folder: Path, track: Track, resumed_at: int) -> None:
        self._path = folder / "metrics.jsonl"
        self._drop_after(resumed_at)
        self._stream = self._path.open("a", encoding="utf-8")
        self._track = track

    def _drop_after(self, step: int) -> None:
        """Forget what was written after the checkpoint that the run goes on from; without one it begins anew."""
        kept = [line for line in _complete_lines(self._path) if step and json.loads(line)["step"] <= step]
        write_text(self._path, "".join(kept))

    def write(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """Write one line; step: steps completed. Trackers get the numbers as `<kind>/<key>`, nested keys joined."""
        line = {"kind": kind, "step": step, "time": round(time.time(), 3), **values}
        self._stream.write(json.dumps(line) + "\n")
        self._stream.flush()
        self._track(dict(_numbers(kind, values)), step)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.close()


def _numbers(prefix: str, values: dict[str, Any]) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _numbers(f"{prefix}/{name}", value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((f"{prefix}/{name}", float(value)))
    return found
