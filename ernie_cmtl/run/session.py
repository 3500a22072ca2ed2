"""One sitting of a run: from its first step, or from its newest checkpoint, until it ends or is
stopped.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from ernie_cmtl.evaluation.heldout import HeadScore, heldout_scores, scores_by_head
from ernie_cmtl.evaluation.retention import START
from ernie_cmtl.run.agreement import check_agreement, state_of_main
from ernie_cmtl.run.checkpoints import Checkpoints, pass_over_damaged
from ernie_cmtl.run.feedback_history import Feedback
from ernie_cmtl.run.folder import RunFolder, resolved, write_settings
from ernie_cmtl.run.log import open_log
from ernie_cmtl.run.logged_retention import run_retention, write_retention
from ernie_cmtl.run.observer import Observer, Window
from ernie_cmtl.run.resume import changed_settings, load_newest, reallocation, resume_point
from ernie_cmtl.run.run import Run
from ernie_cmtl.run.skipped_steps import SkippedSteps, finite, new_spikes, skipped_by_task
from ernie_cmtl.run.splitting import split_groups, split_is_due
from ernie_cmtl.run.stopping import stop_reason
from ernie_cmtl.training.distributed import Workers
from ernie_cmtl.training.metrics import MetricsLog
from ernie_cmtl.training.trainer import StepResult


class Session:
    """The loop of a run, on one worker."""

    def __init__(
        self,
        begun: Run,
        workers: Workers,
        observer: Observer,
        check_folder: Callable[[], None],
        deadline: float = math.inf,
    ) -> None:
        """Set up all that the loop needs, and resume from the newest checkpoint.

        check_folder: raises where another process has taken the run folder over; deadline: on the
        clock of `time.monotonic`.

        Raises:
            UserError: The checkpoint does not fit the run, the workers do not agree, or the disk
                has no room; all workers raise.
        """
        self.workers, self.observer = workers, observer
        self.folder = RunFolder(begun.config.run)
        self.damaged = pass_over_damaged(self.folder.checkpoints, workers)
        written = state_of_main(begun, workers)
        run, self.ledger, self.state = workers.on_each(lambda: resume_point(begun, written))
        self.run, self.config, self.table = run, run.config, run.table
        self.heldout_streams = workers.on_each(lambda: run.streams("heldout"))
        self.feedback = Feedback(run.config, run.table)
        if self.state:
            self.feedback.load(self.state.feedback)
        check_agreement(run, workers, self.ledger, self.feedback.plan)
        model = workers.on_each(run.new_model)
        self.trainer = run.new_trainer(model, workers, new_spikes(run, workers, self.state))
        self.trainer.deadline = deadline
        if self.state:
            self.trainer.loss_weighting.load(self.state.loss_weighting)
            load_newest(run, self.trainer, self.state, self.ledger.step)
        self.checkpoints = Checkpoints(run, resolved(run, model), workers, check_folder)
        self.skipped_steps = SkippedSteps(run, workers, self.ledger)
        self.heldout: dict[str, HeadScore] = {}

    def train(self) -> dict[str, Any]:
        """Train until the end of the run, a signal or the deadline, and return what the verb
        reports.
        """
        self.workers.on_main(lambda: write_settings(self.run, self.checkpoints.settings))
        self.checkpoints.check_space(self.trainer.model, self.ledger.step)
        start, first = time.perf_counter(), self.ledger.step
        if self.workers.is_main:
            self.observer.started(
                self.table.steps, first, self.workers.count, self.workers.precision
            )
        with open_log(self.config, self.folder, self.workers, first, self.observer) as log:
            self._begin(log, first)
            last, tokens = self._take_steps(log)
            self.checkpoints.settle()
        self.workers.check_same_weights(self.trainer.model, self.trainer.optimizer)
        reason = stop_reason(last, self.config.training.max_hours)
        if reason and self.workers.is_main:
            self.observer.stopped(self.ledger.step, reason)
        seconds = time.perf_counter() - start
        all_tokens = int(self.workers.sum(torch.tensor(tokens, device=self.workers.device)))
        unfinished = self.ledger.step < self.table.steps
        return self._report() | {
            "seconds": round(seconds, 3),
            "real_tokens_per_second": round(all_tokens / seconds, 1),
            "worker": self.workers.rank,
            "finished": not unfinished,
            "interrupted": bool(last and last.interrupted) and unfinished,
            "stopped": reason if unfinished else None,
        }

    def close(self) -> None:
        """Let what is being saved come to its end, and let go of the wrapper."""
        self.checkpoints.close()
        self.trainer.release()

    def place(self) -> str:
        """Say which step the run is at, and what it serves."""
        step = min(self.ledger.step, self.table.steps - 1)
        served = [
            task
            for task, share in zip(self.table.tasks, self.feedback.plan(step), strict=True)
            if share
        ]
        return f"step {step + 1} ({', '.join(served)})"

    # --- the loop ---

    def _take_steps(self, log: MetricsLog | None) -> tuple[StepResult | None, int]:
        """Take steps, log, evaluate and save; return the last result, if any, and the real tokens
        of this worker.
        """
        training, table = self.config.training, self.table
        result, tokens, window = None, 0, Window.of(self.trainer)
        for result in self._steps():
            done, stage = self.ledger.step, table.stages[table.stage_of(result.step)].name
            window.add(result)
            if self.workers.is_main:
                self.observer.stepped(done)
            tokens += result.real_tokens

            if done % training.log_every == 0 or done == table.steps or result.stops:
                self._log(log, window, result, stage)
                window = Window.of(self.trainer)

            if self._is_evaluated(done):
                self._evaluate(log, stage)
                window.restart_clock()

            if split_is_due(self.run, self.trainer.model.sharing, done):
                self._split_groups(log)
                window.restart_clock()

            if self.checkpoints.due(result):
                self.checkpoints.save(self.trainer, result, self.feedback.state())

            if result.stops:
                break
        if not self.heldout and self.ledger.step == table.steps:
            self._evaluate(None, table.stages[-1].name)
        return result, tokens

    def _steps(self) -> Iterator[StepResult]:
        """Take the steps of a run; where budgets may move, the steps behind are not made before
        that is decided.
        """
        # Opened before the first step, so that no stage has to wait for its samples.
        self.run.stage_streams.of_steps(self.ledger.step, self.table.steps)
        while self.ledger.step < self.table.steps:
            known = self.feedback.known_until(self.ledger.step)
            # Loader processes are copies of this one, which had better not be in the middle of
            # writing.
            self.checkpoints.settle()
            source = self.run.steps_from(
                self.ledger, known, self.workers.rank, self.workers.count, self.feedback.plan
            )
            for result in self.trainer.run(source):
                self.ledger = result.ledger
                yield result

    def _is_evaluated(self, done: int) -> bool:
        every = self.config.training.heldout.every
        return (
            done in self.table.ends
            or bool(every and done % every == 0)
            or self.feedback.measures(done)
        )

    def _evaluate(self, log: MetricsLog | None, stage: str) -> None:
        """Score the held-out samples, and let budgets or loss weights move by what is measured."""
        self.workers.on_each(self.run.corpus.check_sizes)
        config, step = self.config, self.ledger.step
        pad_id, samples = self.run.corpus.vocabulary.pad_id, config.training.heldout.samples
        self.heldout = heldout_scores(
            self.trainer.model, self.heldout_streams, samples, config.data, pad_id, self.workers
        )
        decision = self.feedback.measured(step, self.heldout)
        losses = {name: score["loss"] for name, score in self.heldout.items()}
        self.trainer.loss_weighting.measured(step, losses)
        if log:
            log.write("heldout", step, {"stage": stage, "tasks": self.heldout})
            log.attempt(self.folder.retention, lambda: write_retention(self.folder, self.table))
            self.observer.evaluated(stage, step, self.heldout)
            if decision:
                log.write("feedback", step, {"stage": stage, **decision.line()})
                self.observer.decided(stage, decision)
            shares = self.feedback.plan(min(step, self.table.steps - 1))
            if line := self.trainer.loss_weighting.line(shares):
                log.write("loss_weighting", step, {"stage": stage, **line})
                self.observer.weighed(stage, step, line["weights"])

    def _split_groups(self, log: MetricsLog | None) -> None:
        """Let tasks part whose gradients disagree."""
        step, model = self.ledger.step, self.trainer.model
        line = split_groups(self.run, model, self.heldout_streams, self.ledger, self.workers)
        if log:
            stage = self.table.stages[self.table.stage_of(step)].name
            log.write("sharing", step, {"stage": stage, **line})
            self.observer.compared(stage, step, line)

    # --- the log ---

    def _begin(self, log: MetricsLog | None, first: int) -> None:
        """Say what is not as it was when the checkpoint was made, and measure the start."""
        if log:
            self._announce(log, first)
        starts = not first and (self.config.training.heldout.every or len(self.table.stages) > 1)
        if self.feedback.lacks(first) or starts:
            self._evaluate(
                log, self.table.stages[self.table.stage_of(first)].name if first else START
            )
        # A finished run that was extended decides here at the start of its new stage.
        if split_is_due(self.run, self.trainer.model.sharing, first):
            self._split_groups(log)

    def _announce(self, log: MetricsLog, step: int) -> None:
        """Write down and say what is not as it was when the checkpoint was made that the run
        resumes from.
        """
        if self.damaged:
            log.write("damaged", step, {"checkpoints": self.damaged})
            self.observer.fell_back(step, self.damaged)
        if changed := changed_settings(
            self.checkpoints.settings, self.state, self.workers.precision
        ):
            log.write("settings", step, {"changed": changed})
            self.observer.changed(changed)
        workers = self.workers.count
        before = (self.state and self.state.workers) or workers
        if before != workers and step < self.table.steps:
            line = reallocation(self.config, self.feedback.plan, step, workers)
            log.write("workers", step, {"before": before, **line})
            self.observer.reallocated(before, line)

    def _log(self, log: MetricsLog | None, window: Window, result: StepResult, stage: str) -> None:
        """Write a line over the steps of a window; here what the device has computed is read
        back.
        """
        workers = self.workers
        trained = len(window.results) - self._log_skipped(log, window, stage)
        statistics = workers.sum(window.statistics).cpu()
        loss = float(workers.sum(window.loss)) / max(1, trained)
        seconds = time.perf_counter() - window.started
        counts = torch.tensor([window.real_tokens, window.slots], device=workers.device)
        real_tokens, slots = (int(value) for value in workers.sum(counts))
        if log and trained:
            line = {
                "stage": stage,
                "loss": loss,
                "tasks": scores_by_head(statistics, self.trainer.model.specs, self.run.instances),
                "learning_rate": result.learning_rate,
                "gradient_norm": finite(float(result.gradient_norm)),
                "real_tokens_per_second": round(real_tokens / seconds, 1),
                "packing_efficiency": round(real_tokens / slots, 4),
                "data_wait_share": round(window.wait_seconds / seconds, 4),
                "consumed": dict(zip(self.table.tasks, result.ledger.tokens, strict=True)),
            }
            if result.distance is not None:
                line["distance"] = float(result.distance)
            log.write("train", result.ledger.step, line)
            self.observer.logged(stage, {"step": result.ledger.step, **line})
        self.skipped_steps.check()

    def _log_skipped(self, log: MetricsLog | None, window: Window, stage: str) -> int:
        """Write down the steps of a window that were skipped, and return how many they are."""
        lines = self.skipped_steps.skipped(window.results, self.feedback.plan)
        if log:
            for line in lines:
                log.write("skipped", line["step"], {"stage": stage, **line})
                self.observer.skipped(line)
        return len(lines)

    def _report(self) -> dict[str, Any]:
        """Return where the run stands: what its tasks received, and what they have learned."""
        run, table, ledger = self.run, self.table, self.ledger
        return {
            "run": str(self.config.run),
            "steps": ledger.step,
            "stages": [stage.name for stage in table.stages],
            "consumed": dict(zip(table.tasks, ledger.tokens, strict=True)),
            "samples": run.stage_streams.samples_by_task(ledger),
            "iterations": dict(zip(table.tasks, ledger.iterations, strict=True)),
            "losses": {name: score["loss"] for name, score in self.heldout.items()},
            "heldout": self.heldout,
            "retention": run_retention(self.folder.metrics, table, ledger.step),
            "skipped": skipped_by_task(self.folder.metrics),
        }
