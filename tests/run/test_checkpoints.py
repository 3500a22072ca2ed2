"""A run and its checkpoints: damaged ones are passed over and named, changed settings are said, no
room is said before step 1.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest

from ernie_cmtl.config import RunConfig
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.errors import UserError
from ernie_cmtl.records import StepData
from ernie_cmtl.run.resume import changed_settings
from ernie_cmtl.run.state import RunState
from ernie_cmtl.training import checkpoint
from ernie_cmtl.training.checkpoint import checkpoints
from ernie_cmtl.training.trainer import StepResult, Trainer
from ernie_cmtl.verbs.evaluate import evaluate_run
from ernie_cmtl.verbs.export import export_run
from ernie_cmtl.verbs.extend import Extension, extended_config
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.runs import (
    Watcher,
    final_tensors,
    last_step,
    logged_lines,
    same_tensors,
    tiny_settings,
    trace,
    with_training,
)
from tests.support.workers import started


class Listener(Watcher):
    """Remembers what it is told of checkpoints and settings."""

    def __init__(self, **options: int) -> None:
        super().__init__(**options)
        self.fallen: list[tuple[int, list[str]]] = []
        self.settings: dict[str, tuple[Any, Any]] = {}

    def fell_back(self, step: int, damaged: list[str]) -> None:
        self.fallen.append((step, damaged))

    def changed(self, settings: dict[str, tuple[Any, Any]]) -> None:
        self.settings = settings


@pytest.fixture(scope="module")
def finished(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    pretrain(RunConfig.model_validate(tiny_settings(english, run)), Watcher())
    return run


def damage(run: Path, name: str, step: int) -> None:
    path = run / "checkpoints" / f"step-{step}" / name
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def config_of(finished: Path, tmp_path: Path) -> RunConfig:
    """A copy of the finished run that may be changed."""
    shutil.copytree(finished, tmp_path / "run")
    corpus = Corpus(RunConfig.model_validate(_settings(finished)).corpus)
    return RunConfig.model_validate(tiny_settings(corpus, tmp_path / "run"))


def _settings(run: Path) -> dict[str, Any]:
    return dict(checkpoint.load_state(checkpoints(run / "checkpoints")[-1])[1]["settings"])


def test_a_run_falls_back_from_a_damaged_checkpoint_says_so_and_ends_the_same(
    finished: Path, tmp_path: Path
) -> None:
    config = config_of(finished, tmp_path)
    damage(config.run, "optimizer.safetensors", 12)
    listener = Listener()
    pretrain(config, listener)
    assert listener.began_at == 8
    ((step, (problem,)),) = listener.fallen
    assert step == 8
    assert "step-12 is damaged: optimizer.safetensors is not" in problem
    assert [(row["step"], row["checkpoints"]) for row in logged_lines(config.run, "damaged")] == [
        (8, [problem])
    ]
    assert sorted(path.name for path in (config.run / "checkpoints").iterdir()) == [
        "damaged-step-12",
        "step-12",
        "step-8",
    ]
    assert trace(config.run) == trace(finished)
    assert same_tensors(final_tensors(config.run), final_tensors(finished))
    # The repaired run is like any other.
    again = Listener()
    pretrain(config, again)
    assert (again.began_at, again.fallen, again.settings) == (12, [], {})


def test_a_run_without_an_intact_checkpoint_is_refused_and_keeps_all(
    finished: Path, tmp_path: Path
) -> None:
    config = config_of(finished, tmp_path)
    for step in (8, 12):
        damage(config.run, "state.json", step)
    with pytest.raises(UserError, match=r"is intact: .*step-12.*state\.json.*step-8"):
        pretrain(config, Watcher())
    assert [path.name for path in checkpoints(config.run / "checkpoints")] == ["step-8", "step-12"]


@pytest.mark.parametrize("name", ["model.safetensors", "state.json"])
def test_other_verbs_name_the_damaged_checkpoint_and_take_another_by_its_step(
    finished: Path, tmp_path: Path, name: str
) -> None:
    run = config_of(finished, tmp_path).run
    damage(run, name, 12)
    for verb in (
        lambda: evaluate_run(run, None),
        lambda: export_run(run, tmp_path / "export", None),
        lambda: extended_config(run, Extension("sentence_order")),
    ):
        with pytest.raises(UserError, match=rf"step-12 is damaged: {name}"):
            verb()
    assert not (tmp_path / "export").exists()
    assert evaluate_run(run, 8)["step"] == 8


def test_settings_that_are_not_those_of_the_checkpoint_are_said_or_refused_key_by_key(
    finished: Path, tmp_path: Path
) -> None:
    config = config_of(finished, tmp_path)
    shutil.rmtree(config.run / "checkpoints" / "step-12")
    settings = config.model_dump(mode="json")
    settings["stages"][1]["budgets"]["capitalization"] = 3
    with pytest.raises(
        UserError,
        match=r"other "
        r"settings "
        r"of "
        r"seed "
        r"\(1, "
        r"now "
        r"2\), "
        r"stages\.1\.budgets\.capitalization "
        r"\(2, "
        r"now "
        r"3\);",
    ):
        pretrain(RunConfig.model_validate(settings | {"seed": 2}), Watcher())
    optimizer = config.optimizer.model_copy(update={"learning_rate": 2e-3})
    changed = with_training(config.model_copy(update={"optimizer": optimizer}), max_hours=2.0)
    listener = Listener()
    pretrain(changed, listener)
    # The first run had another folder.
    assert listener.settings.pop("run") == (str(finished), str(config.run))
    expected = {"optimizer.learning_rate": (1e-3, 2e-3), "training.max_hours": (None, 2.0)}
    assert listener.settings == expected
    (line,) = logged_lines(config.run, "settings")
    assert (line["step"], line["changed"]["optimizer.learning_rate"]) == (8, [1e-3, 2e-3])


def test_an_optimizer_goes_on_with_the_settings_of_the_config_and_says_so(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(finished, tmp_path)
    shutil.rmtree(config.run / "checkpoints" / "step-12")
    given = {"beta1": 0.5, "beta2": 0.75, "epsilon": 1e-3, "weight_decay": 0.125}
    kept = config.optimizer.model_dump()
    used: list[dict[str, Any]] = []
    real = Trainer.step

    def step(self: Trainer, data: StepData, wait_seconds: float = 0.0) -> StepResult:
        result = real(self, data, wait_seconds)
        used.extend(self.optimizer.param_groups)
        return result

    monkeypatch.setattr(Trainer, "step", step)
    listener = Listener()
    pretrain(
        config.model_copy(update={"optimizer": config.optimizer.model_copy(update=given)}), listener
    )
    assert {(group["betas"], group["eps"]) for group in used} == {((0.5, 0.75), 1e-3)}
    assert {group["weight_decay"] for group in used} == {0.125, 0.0}
    assert listener.settings.pop("run")
    assert listener.settings == {
        f"optimizer.{name}": (kept[name], value) for name, value in given.items()
    }


def test_a_precision_that_another_machine_chooses_is_said(tiny_config: RunConfig) -> None:
    state = RunState(tiny_config.model_dump(mode="json"), "pin", [], {}, precision="bf16")
    assert changed_settings(tiny_config, state, "fp32") == {
        "training.precision in use": ("bf16", "fp32")
    }
    assert changed_settings(tiny_config, state, "bf16") == {}
    assert changed_settings(tiny_config, None, "fp32") == {}


def test_some_checkpoints_are_kept_for_good(tiny_config: RunConfig) -> None:
    pretrain(with_training(tiny_config, checkpoints={"keep": 1, "keep_every": 3}), Watcher())
    assert [path.name for path in checkpoints(tiny_config.run / "checkpoints")] == [
        "step-3",
        "step-6",
        "step-9",
        "step-12",
    ]


def test_a_disk_without_room_is_refused_before_the_first_step(
    tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tiny_config.run.parent)
    size = 0

    def room(checkpoints_of_room: float) -> None:
        free = int(checkpoints_of_room * size)
        monkeypatch.setattr(
            checkpoint.shutil, "disk_usage", lambda folder: usage._replace(free=free)
        )

    room(0)
    with pytest.raises(UserError, match=r"0\.0 MB free; 3 checkpoints of"):
        pretrain(tiny_config, Watcher())
    assert not (tiny_config.run / "metrics.jsonl").exists()
    monkeypatch.undo()
    pretrain(tiny_config, Watcher(interrupt_at=5))
    # Two of the three are there.
    size = sum(
        file.stat().st_size for file in checkpoints(tiny_config.run / "checkpoints")[-1].iterdir()
    )
    room(0.9)
    with pytest.raises(UserError, match="1 checkpoints of"):
        pretrain(tiny_config, Watcher())
    room(1.1)
    assert pretrain(tiny_config, Watcher())["finished"]


@pytest.mark.parametrize("asynchronous", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_where_the_main_worker_cannot_save_all_workers_end_alike(
    tiny_config: RunConfig, tmp_path: Path, asynchronous: bool
) -> None:
    tiny_config.run.mkdir()
    (tiny_config.run / "checkpoints").write_text("in the way")
    processes = started(
        with_training(tiny_config, checkpoints={"asynchronous": asynchronous}), tmp_path, 2
    )
    assert [process.wait(60) for process in processes] == [2, 2]
    # A step goes on beside the save, and one more learns of it.
    assert last_step(tiny_config.run) in ((4, 5, 6, 7) if asynchronous else (4,))
