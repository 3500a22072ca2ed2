"""A key of an earlier version in a new configuration: one message that names the key of today."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ernie_cmtl.task import TaskOptions
from ernie_cmtl.training.training_config import TrainingConfig
from tests.support.command_line import RUN, Line, call, mistake, squeezed

TASK = "knowledge_masking"
TABLES = {"training": TrainingConfig.RENAMED, f"tasks.{TASK}": TaskOptions.RENAMED}


KEYS = [
    pytest.param(place, old, new, id=f"{place}.{old}")
    for place, names in TABLES.items()
    for old, new in names.items()
]
"""Place, old and new name of each."""


def told(place: str, old: str, new: str, path: Path) -> str:
    """What the message says: options of a task are checked by the task."""
    if place == "training":
        return f"{path}: unknown key 'training.{old}'; it is now 'training.{new}'"
    return f"{place}: unknown key {old!r}; it is now {new!r}"


def configuration(line: Line, folder: Path, place: str, key: str, value: Any) -> Path:
    """Write the configuration of a run with one more key at a place."""
    settings: dict[str, Any] = RUN | {"run": str(folder / "x"), "corpus": str(line.corpus)}
    *_, name = place.split(".")
    if place == "training":
        settings |= {"training": RUN["training"] | {key: value}}  # type: ignore[operator]
    else:
        settings |= {"tasks": {name: {key: value}}}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def test_the_tables_hold_every_key_that_was_renamed() -> None:
    assert set(TrainingConfig.RENAMED) == {
        "checkpoint_every",
        "keep_checkpoints",
        "keep_every",
        "asynchronous_checkpoints",
        "heldout_every",
        "heldout_samples",
        "skipped_steps_limit",
        "spike_window",
        "spike_sigma",
    }
    assert dict(TaskOptions.RENAMED) == {"rows": "table"}


@pytest.mark.parametrize(("place", "old", "new"), KEYS)
def test_a_renamed_key_in_a_file_is_named_with_the_new_one(
    line: Line, tmp_path: Path, place: str, old: str, new: str
) -> None:
    path = configuration(line, tmp_path, place, old, 3)
    done = call("pretrain", path)
    expected = f"error: {told(place, old, new, path)}"
    assert (done.exit_code, done.stderr.strip()) == (2, expected)
    assert mistake("bench", path) == squeezed(told(place, old, new, path))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("place", "old", "new"), KEYS)
def test_a_renamed_key_in_an_override_is_named_with_the_new_one(
    line: Line, tmp_path: Path, place: str, old: str, new: str
) -> None:
    for path in (line.config, line.run / "config.yaml"):
        message = mistake("pretrain", path, f"run={tmp_path / 'x'}", f"{place}.{old}=3")
        assert message == squeezed(told(place, old, new, path))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("verb", ["inspect", "tasks check"])
def test_a_renamed_option_of_a_task_is_named_with_the_new_one(line: Line, verb: str) -> None:
    message = mistake(*verb.split(), TASK, "--corpus", line.corpus, "rows=moods")
    assert message == squeezed(f"tasks.{TASK}: unknown key 'rows'; it is now 'table'")


def test_extend_and_evaluate_name_the_new_key(line: Line) -> None:
    extended = mistake("extend", line.run, "--task", "supervised", "rows=moods")
    assert extended == squeezed("tasks.supervised: unknown key 'rows'; it is now 'table'")
    evaluated = mistake("evaluate", line.run, "training.heldout_samples=7")
    assert squeezed("training.heldout.samples=N") in evaluated
    asked = mistake("evaluate", line.run, f"tasks.{TASK}.rows=moods")
    assert asked == squeezed(f"tasks.{TASK}: unknown key 'rows'; it is now 'table'")


def test_no_task_has_an_option_of_an_old_name() -> None:
    with pytest.raises(TypeError, match="Rows: 'rows' is the old name of 'table'"):
        type("Rows", (TaskOptions,), {"__annotations__": {"rows": int}, "rows": 3})
