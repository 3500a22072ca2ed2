"""Trackers: several at once, one history however often a run is broken off, and refused by name
before anything is written.
"""

import json
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
from accelerate import tracking
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from accelerate.utils import LoggerType
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ernie_cmtl.config import RunConfig
from ernie_cmtl.errors import UserError
from ernie_cmtl.training.trackers import (
    check_installed,
    flat_settings,
    known_trackers,
    tracker_options,
)
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.runs import Watcher, with_training


class Recorder(GeneralTracker):
    """Stands for a service: what was opened under a name, and all that came in."""

    name = "recorder"
    requires_logging_directory = False
    opened: ClassVar[list["Recorder"]] = []

    def __init__(self, run_name: str, **options: Any) -> None:
        super().__init__()
        self.run_name, self.options = run_name, options
        self.settings: dict[str, Any] = {}
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.finished = False
        self.opened.append(self)

    @property
    def tracker(self) -> "Recorder":
        return self

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.settings = values

    def log(self, values: dict[str, float], step: int, **_: Any) -> None:
        self.rows.append((step, values))

    def finish(self) -> None:
        self.finished = True


class Broken(Recorder):
    def start(self) -> None:
        raise ConnectionError("no such account")


@pytest.fixture(autouse=True)
def recorders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "opened", [])
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "recorder", Recorder)
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "wandb", Recorder)
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "broken", Broken)
    available = [*tracking.get_available_trackers(), LoggerType.WANDB]
    monkeypatch.setattr(tracking, "_available_trackers", available)


def logged_losses(run: Path) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in rows if row["kind"] == "train"]


TOTALS = ("train/total_loss_of_stage/first", "train/total_loss_of_stage/second")
"""A curve for each stage."""


def tracked_losses(recorder: Recorder) -> list[tuple[int, float]]:
    assert not any("train/loss" in row for _, row in recorder.rows)
    return [(step, row[name]) for step, row in recorder.rows for name in TOTALS if name in row]


def shown_losses(run: Path) -> list[tuple[int, float]]:
    shown = board(run)
    return [(event.step, event.value) for name in TOTALS for event in shown.Scalars(name)]


def board(run: Path) -> EventAccumulator:
    return EventAccumulator(str(run / "tensorboard" / run.name)).Reload()


def test_several_trackers_see_one_run(tiny_config: RunConfig) -> None:
    pretrain(with_training(tiny_config, trackers=["tensorboard", "recorder"]), Watcher())
    expected = logged_losses(tiny_config.run)
    assert len(expected) == 12
    (recorder,) = Recorder.opened
    assert tracked_losses(recorder) == expected
    heads = {"knowledge_masking/masked_token", "capitalization/capital"}
    assert heads <= {
        name.removeprefix("train/tasks/").removesuffix("/loss")
        for _, row in recorder.rows
        for name in row
    }
    assert {
        step
        for step, row in recorder.rows
        if "heldout/tasks/capitalization/capital/accuracy" in row
    } == {0, 5, 12}
    assert shown_losses(tiny_config.run) == [
        (step, pytest.approx(loss, rel=1e-6)) for step, loss in expected
    ]
    assert recorder.finished
    assert recorder.run_name == tiny_config.run.name
    assert recorder.settings["stages.1.budgets.capitalization"] == 2
    assert recorder.settings["optimizer.learning_rate"] == 1e-3


def test_a_resumed_run_keeps_one_history(tiny_config: RunConfig) -> None:
    config = with_training(tiny_config, trackers=["tensorboard", "wandb"])
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, Watcher(crash_at=7))
    # TensorBoard reads its files in order of the second they were opened in.
    time.sleep(1.01)
    pretrain(config, Watcher())
    shown = [step for step, _ in shown_losses(config.run)]
    assert shown == [step for step, _ in logged_losses(config.run)] == list(range(1, 13))
    first, second = Recorder.opened
    assert first.finished
    assert first.options == second.options
    assert (first.options["resume"], first.options["dir"]) == ("allow", str(config.run))
    other = with_training(
        tiny_config.model_copy(update={"run": config.run.parent / "other"}), trackers=["wandb"]
    )
    pretrain(other, Watcher(interrupt_at=1))
    assert Recorder.opened[2].options["id"] != first.options["id"]


def test_a_run_that_begins_anew_forgets_what_was_measured_before_its_first_step(
    tiny_config: RunConfig,
) -> None:
    config = with_training(tiny_config, trackers=["tensorboard"])
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, Watcher(crash_at=3))
    time.sleep(1.01)
    pretrain(config, Watcher())
    shown = [
        event.step
        for event in board(config.run).Scalars("heldout/tasks/capitalization/capital/loss")
    ]
    assert shown == [0, 5, 12]


def test_without_trackers_only_our_own_file_is_written(tiny_config: RunConfig) -> None:
    pretrain(tiny_config, Watcher(interrupt_at=1))
    names = {path.name for path in tiny_config.run.iterdir()}
    assert names == {"metrics.jsonl", "config.yaml", "corpus.json", "checkpoints", "retention.csv"}


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_written(
    tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "_available_trackers", [LoggerType.TENSORBOARD])
    with pytest.raises(
        UserError,
        match=r"'mlflow' is not installed: pip install mlflow; installed are .*tensorboard",
    ):
        pretrain(with_training(tiny_config, trackers=["tensorboard", "mlflow"]), Watcher())
    assert not tiny_config.run.exists()
    check_installed(["tensorboard", "recorder"])


def test_a_tracker_that_does_not_start_gives_one_message(tiny_config: RunConfig) -> None:
    with pytest.raises(UserError, match="a tracker did not start: no such account"):
        pretrain(with_training(tiny_config, trackers=["tensorboard", "broken"]), Watcher())


def test_the_common_trackers_are_known() -> None:
    assert {"tensorboard", "wandb", "mlflow", "comet_ml"} <= set(known_trackers())


def test_settings_become_flat_values() -> None:
    nested = {"a": {"b": 1, "c": None}, "d": [True, {"e": "x"}], "f": 0.5, "g": []}
    assert flat_settings(nested) == {"a.b": 1, "d.0": True, "d.1.e": "x", "f": 0.5}


def test_a_tracker_that_fails_is_let_go_of_and_others_go_on(
    tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Recorder):
        def log(self, values: dict[str, float], step: int, **_: Any) -> None:
            if step >= 3:
                raise ConnectionError("no route")
            super().log(values, step)

    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "wandb", Failing)
    told: list[str] = []
    watcher = Watcher()
    watcher.unwritten = told.append  # type: ignore[method-assign]
    result = pretrain(with_training(tiny_config, trackers=["wandb", "recorder"]), watcher)
    assert result["finished"]
    failing, recorder = Recorder.opened
    assert max(step for step, _ in failing.rows) == 2
    assert tracked_losses(recorder) == logged_losses(tiny_config.run)
    assert recorder.finished
    (problem,) = told
    assert problem.startswith("tracker recorder failed: no route; the run goes on without it")


def test_a_damaged_name_of_the_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tracker_id").write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"tracker_id is damaged.*remove the file"):
        tracker_options(["wandb"], tmp_path / "tracker_id", 0)
