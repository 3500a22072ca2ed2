"""Temporary folders that are removed when a process is asked to end, too."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield an empty folder that is removed at the end of the block.

    SIGTERM, SIGHUP and SIGUSR1 end the process by an exception meanwhile, with the exit code that a
    shell gives them; by default they would end it without a word to Python.
    """
    with _ended_by_exception(), TemporaryDirectory(prefix="ernie-cmtl-") as folder:
        yield Path(folder)


@contextmanager
def _ended_by_exception() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _end) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _: object) -> None:
    # A second signal must not break off the removal.
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)
