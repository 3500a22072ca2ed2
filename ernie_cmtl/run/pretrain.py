"""The verb pretrain: a run from its first step, or from its newest checkpoint, to its last."""

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ernie_cmtl.config import RunConfig
from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.evaluation.heldout import HeadScore, heldout_scores, scores_by_head
from ernie_cmtl.evaluation.retention import START
from ernie_cmtl.records import Ledger
from ernie_cmtl.run.agreement import check_agreement, state_of_main
from ernie_cmtl.run.assemble import Run
from ernie_cmtl.run.describe import reallocation
from ernie_cmtl.run.feedback import Feedback
from ernie_cmtl.run.folder import resolved, sole_run, write_settings
from ernie_cmtl.run.guard import Guard, finite, new_spikes, skipped_by_task
from ernie_cmtl.run.progress import Observer, Window
from ernie_cmtl.run.resume import changed_settings, load_newest, resume_point
from ernie_cmtl.run.retention import run_retention, write_retention
from ernie_cmtl.run.saving import Saving, pass_over_damaged
from ernie_cmtl.run.stopping import stop_on_signal
from ernie_cmtl.training.metrics import MetricsLog
from ernie_cmtl.training.trackers import check_installed, tracker_options
from ernie_cmtl.training.trainer import StepResult, Trainer
from ernie_cmtl.training.workers import Workers


@dataclass
class _Part:
    """What one worker process has in its hands during a run."""

    run: Run
    workers: Workers
    trainer: Trainer
    saving: Saving
    folder: Path
    observer: Observer
    heldout_streams: list[SampleStream]
    feedback: Feedback
    guard: Guard
    done: int
    """Steps completed."""
    heldout: dict[str, HeadScore] = field(default_factory=dict)

    def evaluate(self, log: MetricsLog | None, ledger: Ledger, stage: str) -> None:
        config, model = self.run.config, self.trainer.model
        pad_id = self.run.corpus.vocabulary.pad_id
        streams = self.heldout_streams
        self.heldout = heldout_scores(model, streams, config.training.heldout_samples, config.data, pad_id, self.workers)
        decision = self.feedback.measured(ledger.step, self.heldout)
        if log:
            log.write("heldout", ledger.step, {"stage": stage, "tasks": self.heldout})
            log.attempt(self.folder / "retention.csv", lambda: write_retention(self.folder, self.run.table))
            self.observer.evaluated(stage, ledger.step, self.heldout)
            if decision:
                log.write("feedback", ledger.step, {"stage": stage, **decision.line()})
                self.observer.decided(stage, decision)

    def announce(self, log: MetricsLog, step: int, about: dict[str, Any], damaged: list[str]) -> None:
        """Write down and say what is not as it was when the checkpoint was made that the run goes on from."""
        if damaged:
            log.write("damaged", step, {"checkpoints": damaged})
            self.observer.fell_back(step, damaged)
        if changed := changed_settings(self.saving.settings, about, self.workers.precision):
            log.write("settings", step, {"changed": changed})
            self.observer.changed(changed)
        before, workers = about.get("workers", self.workers.count), self.workers.count
        if before != workers and step < self.run.table.steps:
            line = reallocation(self.run.config, self.feedback.plan, step, workers)
            log.write("workers", step, {"before": before, **line})
            self.observer.reallocated(before, line)


def pretrain(config: RunConfig, observer: Observer) -> dict[str, Any]:
    """Train a run to its end, or until it is asked to stop or its time is up, and return what the verb reports.

    Raises:
        UserError: A setting, task or corpus that does not fit, or a run folder that belongs to another run, that another process
            trains in, or that a symbolic link stands in.
    """
    started = time.monotonic()
    training = config.training
    timeout, reduced = training.worker_timeout_seconds, training.reduce_precision
    workers = Workers(training.precision, training.trackers, config.run, timeout, reduced, training.sharding)
    parts: list[_Part] = []
    try:
        workers.on_each(lambda: check_installed(training.trackers))
        workers.on_each(lambda: config.check_workers(workers.count))
        with sole_run(config.run, workers) as check_folder:
            return _pretrain(Run(config), observer, workers, started, check_folder, parts.append)
    except RuntimeError as raised:
        error = raised
        # Its frames hold the wrapper, which has to be let go of before the group is left.
        traceback.clear_frames(raised.__traceback__)
    finally:
        workers.close()
    raise workers.lost(error, _place(parts[0]) if parts else "the start of the run") or error


def _pretrain(
    run: Run,
    observer: Observer,
    workers: Workers,
    started: float,
    check_folder: Callable[[], None],
    assembled: Callable[[_Part], None],
) -> dict[str, Any]:
    """Train a run in a folder that is its alone; started: on the clock of `time.monotonic`; assembled: gets its parts."""
    config = run.config
    damaged = pass_over_damaged(run, workers)
    state = state_of_main(run, workers)
    ledger, about = workers.on_each(lambda: resume_point(run, state))
    heldout_streams = workers.on_each(lambda: run.streams("heldout"))
    feedback = Feedback(config, run.table)
    if about:
        feedback.load(about["feedback"])
    check_agreement(run, workers, ledger, feedback.plan)
    model = workers.on_each(run.new_model)
    spikes = new_spikes(run, workers, about)
    trainer = Trainer(model, run.instances, config.optimizer, workers, run.table, config.seed, spikes)
    if config.training.max_hours is not None:
        trainer.deadline = started + 3600 * config.training.max_hours
    if ledger.step:
        load_newest(run, model, trainer.optimizer, about, workers)
    saving = Saving(run, resolved(config, model), workers, check_folder)
    guard = Guard(run, workers, ledger)
    part = _Part(run, workers, trainer, saving, config.run, observer, heldout_streams, feedback, guard, ledger.step)
    assembled(part)
    try:
        workers.on_main(lambda: write_settings(run, saving.settings))
        saving.check_space(model, ledger.step)
        with stop_on_signal(trainer):
            return _train(part, ledger, about, damaged)
    finally:
        saving.close()
        trainer.release()


def _place(part: _Part) -> str:
    """Say which step a run is at, and what it serves."""
    table, step = part.run.table, min(part.done, part.run.table.steps - 1)
    served = [task for task, share in zip(table.tasks, part.feedback.plan(step), strict=True) if share]
    return f"step {step + 1} ({', '.join(served)})"


def _steps(part: _Part, ledger: Ledger) -> Iterator[StepResult]:
    """Take the steps of a run; where budgets may move, the steps behind are not made before that is decided."""
    # Opened before the first step, so that no stage has to wait for its samples.
    part.run.stage_data(ledger.step, part.run.table.steps)
    while ledger.step < part.run.table.steps:
        known = part.feedback.known_until(ledger.step)
        workers = part.workers
        # Loader processes are copies of this one, which had better not be in the middle of writing.
        part.saving.settle()
        source = part.run.source(ledger, known, workers.rank, workers.count, part.feedback.plan)
        for result in part.trainer.run(source):
            ledger = result.ledger
            yield result


def _train(part: _Part, ledger: Ledger, about: dict[str, Any], damaged: list[str]) -> dict[str, Any]:
    run, trainer, workers = part.run, part.trainer, part.workers
    config, table = run.config, run.table
    start, first = time.perf_counter(), ledger.step
    tokens = 0
    stopped = interrupted = False
    if workers.is_main:
        part.observer.started(table.steps, first, workers.count, workers.precision)
    every = config.training.heldout_every
    with _open_log(part, first) as log:
        if log:
            part.announce(log, first, about, damaged)
        if part.feedback.lacks(first) or (not first and (every or len(table.stages) > 1)):
            part.evaluate(log, ledger, table.stages[table.stage_of(first)].name if first else START)
        window = _window(trainer)
        for result in _steps(part, ledger):
            ledger = result.ledger
            done = part.done = ledger.step
            stage = table.stages[table.stage_of(result.step)].name
            window.add(result)
            tokens += result.real_tokens
            interrupted, stopped = result.interrupted, result.interrupted or result.out_of_time
            if done % config.training.log_every == 0 or done == table.steps or stopped:
                _log(part, log, window, result, stage)
                window = _window(trainer)
            if done in table.ends or (every and done % every == 0) or part.feedback.measures(done):
                part.evaluate(log, ledger, stage)
                window.started = time.perf_counter() if not window.results else window.started
            if part.saving.due(done) or stopped:
                part.saving.save(trainer, ledger, part.feedback.state())
            if stopped:
                break
        if not part.heldout and ledger.step == table.steps:
            part.evaluate(None, ledger, table.stages[-1].name)
        part.saving.settle()
    workers.check_same_weights(trainer.model, trainer.optimizer)
    if stopped and workers.is_main:
        part.observer.stopped(ledger.step)
    seconds = time.perf_counter() - start
    all_tokens = int(workers.sum(torch.tensor(tokens, device=workers.device)))
    return _report(part, ledger) | {
        "seconds": round(seconds, 3),
        "real_tokens_per_second": round(all_tokens / seconds, 1),
        "worker": workers.rank,
        "finished": ledger.step == table.steps,
        "interrupted": interrupted and ledger.step < table.steps,
    }


def _report(part: _Part, ledger: Ledger) -> dict[str, Any]:
    """Return where a run stands: what its tasks received, and what they have learned."""
    run, table = part.run, part.run.table
    return {
        "run": str(run.config.run),
        "steps": ledger.step,
        "stages": [stage.name for stage in table.stages],
        "consumed": dict(zip(table.tasks, ledger.tokens, strict=True)),
        "samples": run.samples_by_task(ledger),
        "iterations": dict(zip(table.tasks, ledger.iterations, strict=True)),
        "losses": {name: score["loss"] for name, score in part.heldout.items()},
        "heldout": part.heldout,
        "retention": run_retention(part.folder, table, ledger.step),
        "skipped": skipped_by_task(part.folder),
    }


def _window(trainer: Trainer) -> Window:
    model, device = trainer.model, trainer.workers.device
    shape = (len(model.specs), model.tasks + 1, 3)
    return Window(torch.zeros(shape, device=device), torch.zeros((), device=device))


@contextmanager
def _open_log(part: _Part, step: int) -> Iterator[MetricsLog | None]:
    """Open the log on the main worker; what the disk has not taken at the end ends all workers alike."""
    opened: list[MetricsLog] = []
    part.workers.on_main(lambda: opened.append(_start_log(part, step)))
    with ExitStack() as stack:
        yield stack.enter_context(opened[0]) if opened else None
        part.workers.on_main(lambda: opened[0].finish())


def _start_log(part: _Part, step: int) -> MetricsLog:
    config = part.run.config
    options = tracker_options(config.training.trackers, part.folder, step)
    part.workers.start_trackers(part.folder.resolve().name, config.model_dump(mode="json"), options)
    return MetricsLog(part.folder, part.workers.track, step, part.observer.unwritten)


def _log(part: _Part, log: MetricsLog | None, window: Window, result: StepResult, stage: str) -> None:
    workers, run = part.workers, part.run
    trained = len(window.results) - _skipped(part, log, window, stage)
    statistics = workers.sum(window.statistics).cpu()
    loss = float(workers.sum(window.loss)) / max(1, trained)
    seconds = time.perf_counter() - window.started
    counts = torch.tensor([window.real_tokens, window.slots], dtype=torch.int64, device=workers.device)
    real_tokens, slots = (int(value) for value in workers.sum(counts))
    if log and trained:
        line = {
            "stage": stage,
            "loss": loss,
            "tasks": scores_by_head(statistics, part.trainer.model.specs, run.instances),
            "learning_rate": result.learning_rate,
            "gradient_norm": finite(float(result.gradient_norm)),
            "real_tokens_per_second": round(real_tokens / seconds, 1),
            "packing_efficiency": round(real_tokens / slots, 4),
            "data_wait_share": round(window.wait_seconds / seconds, 4),
            "consumed": dict(zip(run.table.tasks, result.ledger.tokens, strict=True)),
        }
        log.write("train", result.ledger.step, line)
        part.observer.logged(stage, {"step": result.ledger.step, **line})


def _skipped(part: _Part, log: MetricsLog | None, window: Window, stage: str) -> int:
    """Write down the steps of a window that were skipped, and return how many they are."""
    lines = part.guard.skipped(window.results, part.feedback.plan)
    if log:
        for line in lines:
            log.write("skipped", line["step"], {"stage": stage, **line})
            part.observer.skipped(line)
    part.guard.check()
    return len(lines)
