"""Processes that end with the one that started them, even if that one is killed without notice."""

import os
import signal
import threading
import time
from collections.abc import Callable

_LAUNCHED = ("TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION")
_STARTED_BY = "ERNIE_CMTL_STARTED_BY"
_SECONDS = 1.0


def was_launched() -> bool:
    """Tell whether torchrun, `accelerate launch` or `--workers` started this process."""
    return any(name in os.environ for name in _LAUNCHED)


def ends_with_this_process() -> dict[str, str]:
    """Return the environment variables for a verb that is to stop when this process ends."""
    return {_STARTED_BY: str(os.getpid())}


def stop_with_parent() -> None:
    """Stop this process, as SIGTERM does, when the launcher or program that started it ends.

    A verb that a person started is left alone: it may outlive its shell.
    """
    started_by = os.environ.pop(_STARTED_BY, "")
    if was_launched():
        when_parent_ends(os.getppid(), terminate)
    elif started_by.isdecimal():
        when_parent_ends(int(started_by), terminate)


def terminate() -> None:
    """Send SIGTERM to this process: a run saves its step first, all else ends at once."""
    os.kill(os.getpid(), signal.SIGTERM)


def when_parent_ends(parent: int, action: Callable[[], None]) -> None:
    """Call an action in a thread once the parent of this process has ended, and then every second.

    parent: process id. If the parent has ended already, the action is called at once.
    """
    threading.Thread(target=_watch, args=(parent, action), daemon=True).start()


def _watch(parent: int, action: Callable[[], None]) -> None:
    while True:
        if os.getppid() != parent:
            # Again each time: a run takes the first signal as a request, what follows it does not.
            action()
        time.sleep(_SECONDS)
