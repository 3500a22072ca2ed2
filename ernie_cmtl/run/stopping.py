"""How a run is asked to stop from outside."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from ernie_cmtl.training.trainer import StepResult, Trainer

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def stop_on_signal(trainer: Trainer) -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and SIGUSR1 into a stop of all workers after the running step; a second
    Ctrl-C ends at once.

    Cluster managers and launchers may send the other two more than once, so those change nothing
    more.
    """

    def request(number: int, _: object) -> None:
        trainer.request_stop()
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, request) for number in SIGNALS}
    try:
        yield
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
