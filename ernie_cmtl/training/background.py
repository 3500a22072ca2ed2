"""One action at a time beside the training."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Background:
    """A thread that does one thing; what it is doing is done to its end even where the process is
    asked to leave.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._running: Future[object] | None = None

    def start(self, action: Callable[[], object], failed: Callable[[], object]) -> None:
        """Begin an action, after the one before was waited for; failed: is called at once where it
        fails.
        """
        assert self._running is None
        self._running = self._pool.submit(action)
        self._running.add_done_callback(lambda done: failed() if done.exception() else None)

    def wait(self) -> None:
        """Wait for the action under way, if there is one, and raise what it raised."""
        running, self._running = self._running, None
        if running:
            running.result()
