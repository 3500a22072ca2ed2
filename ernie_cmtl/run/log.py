"""The log of a run, which its main worker writes."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from ernie_cmtl.config import RunConfig
from ernie_cmtl.run.folder import RunFolder
from ernie_cmtl.run.observer import Observer
from ernie_cmtl.training.distributed import Workers
from ernie_cmtl.training.metrics import MetricsLog
from ernie_cmtl.training.trackers import tracker_options


def _about(workers: Workers) -> dict[str, str | int]:
    """Return what the log says of each start of a run."""
    return {
        "workers": workers.count,
        "device": workers.device.type,
        "precision": workers.precision,
        "torch": torch.__version__,
    }


@contextmanager
def open_log(
    config: RunConfig, folder: RunFolder, workers: Workers, step: int, observer: Observer
) -> Iterator[MetricsLog | None]:
    """Open the log and the trackers on the main worker, from a step on; the others get None.

    What the disk has not taken at the end ends all workers alike.
    """
    opened: list[MetricsLog] = []

    def open_here() -> None:
        options = tracker_options(config.training.trackers, folder.tracker_id, step)
        name = folder.path.resolve().name
        workers.trackers.start(name, config.model_dump(mode="json"), options)
        log = MetricsLog(folder.metrics, workers.trackers.log, step, observer.unwritten)
        opened.append(log)
        log.write("started", step, _about(workers))

    workers.on_main(open_here)
    with ExitStack() as stack:
        yield stack.enter_context(opened[0]) if opened else None
        workers.on_main(lambda: opened[0].finish())
