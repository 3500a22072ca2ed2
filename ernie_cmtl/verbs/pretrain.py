"""The verb pretrain: a run from its first step, or from its newest checkpoint, to its last."""

import math
import time
import traceback
from typing import Any

from ernie_cmtl.config import RunConfig
from ernie_cmtl.run.folder import RunFolder
from ernie_cmtl.run.observer import Observer
from ernie_cmtl.run.run import Run
from ernie_cmtl.run.session import Session
from ernie_cmtl.run.stopping import StopSignals, stop_on_signal
from ernie_cmtl.training.distributed import Workers
from ernie_cmtl.training.trackers import check_installed


def pretrain(config: RunConfig, observer: Observer) -> dict[str, Any]:
    """Train a run to its end, or until it is asked to stop or its time is up, and return what the
    verb reports.

    Raises:
        UserError: A setting, task or corpus that does not fit, or a run folder that belongs to
            another run, that another process trains in, or that a symbolic link stands in.
        LostWorkerError: Another worker was killed or does not answer.
    """
    training = config.training
    deadline = (
        math.inf if training.max_hours is None else time.monotonic() + 3600 * training.max_hours
    )
    timeout, reduced = training.worker_timeout_seconds, training.reduce_precision
    workers = Workers(
        training.precision, training.trackers, config.run, timeout, reduced, training.sharding
    )
    with stop_on_signal() as signals:
        return _train(config, observer, workers, signals, deadline)


def _train(
    config: RunConfig,
    observer: Observer,
    workers: Workers,
    signals: StopSignals,
    deadline: float,
) -> dict[str, Any]:
    session: Session | None = None
    try:
        workers.on_each(lambda: check_installed(config.training.trackers))
        workers.on_each(lambda: config.check_workers(workers.count))
        with RunFolder(config.run).sole_writer(workers) as check_folder:
            session = Session(Run(config), workers, observer, check_folder, deadline)
            signals.pass_to(session.trainer.request_stop)
            try:
                return session.train()
            finally:
                session.close()
    except RuntimeError as raised:
        error = raised
        # Its frames hold the wrapper, which has to be let go of before the group is left.
        traceback.clear_frames(raised.__traceback__)
    finally:
        workers.close()
    raise workers.lost(error, session.place() if session else "the start of the run") or error
