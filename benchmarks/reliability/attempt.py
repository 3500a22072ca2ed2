"""One start of a run that is to be broken: what it writes down, and what fails while it saves."""

import builtins
import errno
import hashlib
import io
import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from safetensors.torch import save_file
from torch import Tensor

ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS)


@dataclass
class Attempt:
    """One start of a run: where it writes, and what happens to it."""

    corpus: Path
    folder: Path
    steps: int
    rank: int = 0
    workers: int = 1
    loaders: int = 0
    dies_after: int = 0
    """Kill it once so many steps are done; 0: do not."""
    fault: tuple[str, int, int] | None = None
    """What fails in its first save: (function, number of the call, error), or ("size", bytes of a
    file, 0).
    """

    def took(self, step: int, loss: float, rows: list[Any], inputs: Tensor) -> None:
        """Write down a step."""
        digests = [
            hashlib.blake2b(row.numpy().tobytes(), digest_size=8).hexdigest() for row in inputs
        ]
        line = {
            "step": step,
            "workers": self.workers,
            "loss": loss,
            "rows": rows or digests,
            "inputs": digests,
        }
        with (self.folder / f"log-{self.rank}.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        if step == self.dies_after:
            os.kill(os.getpid(), signal.SIGKILL)

    def ended(self, weights: dict[str, Tensor], moments: dict[str, Tensor]) -> None:
        """Write down what a run has come to."""
        if self.rank == 0:
            tensors = {
                name: value.detach().clone().contiguous()
                for name, value in (weights | moments).items()
            }
            save_file(tensors, self.folder / "end.safetensors")

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Mark that a save is under way, and let it fail as it should."""
        if self.rank:
            yield
            return
        mark = self.folder / "saving"
        mark.touch()
        started = time.perf_counter()
        fault, self.fault = self.fault, None
        with failing(fault, self.folder):
            yield
        mark.unlink()
        with (self.folder / "saves.txt").open("a") as log:
            log.write(f"{time.perf_counter() - started}\n")


FUNCTIONS: dict[str, list[tuple[Any, str]]] = {
    "open a file to write": [(builtins, "open"), (io, "open")],
    **{f"os.{name}": [(os, name)] for name in ("mkdir", "open", "fsync", "rename", "replace")},
}


@contextmanager
def failing(fault: tuple[str, int, int] | None, folder: Path) -> Iterator[None]:
    """Let one call of a function fail (number 0: only count them), or all writes beyond a size."""
    if fault is None:
        yield
        return
    name, number, code = fault
    if name == "size":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (number, hard))
        yield
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        return
    calls = 0

    def replaced(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            nonlocal calls
            mode = given[1] if len(given) > 1 else options.get("mode", "r")
            if name.startswith("os.") or any(letter in str(mode) for letter in "wxa+"):
                calls += 1
                if calls == number:
                    raise OSError(code, os.strerror(code))
            return real(*given, **options)

        return call

    with ExitStack() as stack:
        for module, attribute in FUNCTIONS[name]:
            stack.enter_context(
                patch.object(module, attribute, replaced(getattr(module, attribute)))
            )
        yield
    (folder / "calls.txt").write_text(str(calls))
