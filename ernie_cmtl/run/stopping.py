"""How a run is asked to stop from outside."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ernie_cmtl.parent_process import was_launched
from ernie_cmtl.training.trainer import StepResult

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopSignals:
    """Remembers a signal that comes before the first step, and passes it to the trainer."""

    def __init__(self) -> None:
        self._asked = False
        self._stop: Callable[[], None] | None = None

    def ask(self) -> None:
        """Ask the run to stop."""
        self._asked = True
        if self._stop:
            self._stop()

    def pass_to(self, stop: Callable[[], None]) -> None:
        """Name what stops the run; it is called at once if a signal came before."""
        self._stop = stop
        if self._asked:
            stop()


@contextmanager
def stop_on_signal() -> Iterator[StopSignals]:
    """Turn Ctrl-C, SIGTERM and SIGUSR1 into a stop of all workers after the running step.

    Cluster managers and launchers may send each of them more than once. A second Ctrl-C ends a run
    at once that has no launcher.
    """
    signals = StopSignals()
    # A terminal sends Ctrl-C to a launcher and to its workers, and the launcher passes it on: for a
    # worker, the second one is the same key press.
    alone = not was_launched()

    def request(number: int, _: object) -> None:
        signals.ask()
        if number == signal.SIGINT and alone:
            signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, request) for number in SIGNALS}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_reason(last: StepResult | None, max_hours: float | None) -> str | None:
    """Say why the last step that was taken is the last one, if it was asked to be."""
    if last is None or not last.stops:
        return None
    if last.interrupted:
        return "asked to by Ctrl-C or a signal"
    return f"training.max_hours, {max_hours:g}, are over"
