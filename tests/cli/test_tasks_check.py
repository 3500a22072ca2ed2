"""The verb tasks, and a task that lives outside the repository."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ernie_cmtl import task_registry
from ernie_cmtl.corpus.store.corpus import Corpus
from tests.support.command_line import RUN, call, mistake, result_of, squeezed
from tests.support.toy_tasks import SOUND, variant

MINE = ("--task-module", "my_tasks.toy")
CHECK = ("--length", "64", "--samples", "300")
LEAKING = variant(
    ("segments = [self.mix(halves[0], label), halves[1]]", "segments = halves if label else [text]")
)


def forget() -> None:
    """Leave no task of a call to the next one, which is another process for people."""
    task_registry.TASKS._modules.clear()
    for name in [name for name in sys.modules if name.startswith("my_tasks")]:
        del sys.modules[name]


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(task_registry.TASKS, "_modules", {})
    (tmp_path / "my_tasks").mkdir()
    (tmp_path / "my_tasks" / "toy.py").write_text(SOUND)
    yield tmp_path
    forget()


def anew(*words: str | Path) -> Any:
    forget()
    return result_of(*words)


def test_a_task_of_ones_own_is_one_file_and_one_line(outside: Path, english: Corpus) -> None:
    settings = RUN | {
        "run": str(outside / "run"),
        "corpus": str(english.folder),
        "stages": [{"name": "mine", "budgets": {"toy": 2}}],
    }
    (outside / "run.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert "toy" in [row["name"] for row in anew("tasks", *MINE)]
    assert len(anew("inspect", "toy", "--corpus", english.folder, *MINE)) == 3
    checked = anew("tasks", "check", "toy", "--corpus", english.folder, *CHECK, *MINE)
    assert (checked["task"], checked["passed"]) == ("toy", True)
    assert (
        anew("bench", outside / "run.yaml", "--steps", "1", "--warmup", "0", *MINE)[
            "real_tokens_per_second"
        ]
        > 0
    )
    trained = anew("pretrain", outside / "run.yaml", *MINE)
    assert (trained["steps"], set(trained["losses"])) == (2, {"toy/swapped"})
    assert anew("evaluate", outside / "run", *MINE)["heldout"] == trained["heldout"]
    assert anew("export", outside / "run", "--output", outside / "model", *MINE)["format"] == "hf"
    forget()
    message = mistake("evaluate", outside / "run")
    assert "notasknamed'toy'" in message
    assert "--plugin" in message


def test_a_run_names_no_module_by_its_configuration(outside: Path, english: Corpus) -> None:
    settings = RUN | {
        "run": "r",
        "corpus": str(english.folder),
        "stages": [{"name": "mine", "budgets": {"my_tasks.toy": 2}}],
    }
    (outside / "run.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert "'my_tasks.toy'" in mistake("bench", outside / "run.yaml")
    assert "my_tasks.toy" not in sys.modules


def test_the_result_of_a_check_has_the_documented_keys(outside: Path, english: Corpus) -> None:
    found = result_of("tasks", "check", "capitalization", "--corpus", english.folder, *CHECK)
    assert {"task", "passed", "balance", "leaks", "contract", "tokens_per_second"} <= set(found)
    assert all(
        {"head", "baseline", "accuracy", "chance", "samples", "allowed"} <= set(leak)
        for leak in found["leaks"]
    )
    assert all(set(rule) == {"name", "passed", "detail"} for rule in found["contract"])
    assert found["balance"]["capital"]["classes"].keys() == {"lower", "capital"}


def test_a_failing_check_exits_with_1_and_says_why(outside: Path, english: Corpus) -> None:
    (outside / "my_tasks" / "toy.py").write_text(LEAKING)
    words = ("tasks", "check", "toy", "--corpus", english.folder, *CHECK, *MINE)
    shown = call(*words)
    assert shown.exit_code == 1
    assert "failed:" in shown.stdout
    assert squeezed("segments solves swapped: 100.0% against") in squeezed(shown.stdout)
    forget()
    reported = call(*words, "--json")
    assert reported.exit_code == 1
    assert json.loads(reported.stdout)["passed"] is False


def test_people_see_tables_and_one_line_of_judgement(outside: Path, english: Corpus) -> None:
    shown = call(
        "tasks", "check", "sentence_reordering", "--corpus", english.folder, *CHECK, "segments=2"
    )
    assert shown.exit_code == 0, shown.stdout
    assert shown.stdout.splitlines()[-1] == "passed"
    for word in (
        "contract",
        "one-sentence documents",
        "2-1",
        "bag_of_words",
        "tokens/s on one core",
    ):
        assert squeezed(word) in squeezed(shown.stdout)
    assert "1-2-3" not in shown.stdout


def test_help_of_the_check_shows_an_example() -> None:
    done = call("tasks", "check", "--help")
    assert done.exit_code == 0
    assert "Example:ernie-cmtltaskscheck" in squeezed(done.stdout)


def test_a_broken_task_does_not_break_the_listing(
    outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = outside / "bad_tasks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad_tasks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[ernie_cmtl.tasks]\nabsent = not_there\nheadless = my_tasks.headless\n"
    )
    (outside / "my_tasks" / "headless.py").write_text(
        variant(('return (HeadSpec("swapped"', '1 / 0; return (HeadSpec("swapped"'))
    )
    rows = {row["name"]: row for row in result_of("tasks")}
    assert "does not import" in rows["absent"]["error"]
    assert rows["headless"]["error"] == "ZeroDivisionError: division by zero"
    assert rows["capitalization"]["heads"]
    shown = call("tasks")
    assert shown.exit_code == 0
    assert "notimport" in squeezed(shown.stdout)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("check nonsense --corpus {0}", ["'nonsense'", "--plugin"]),
        ("check capitalization --corpus {0}/absent", ["no corpus at"]),
        ("check sentence_reordering --corpus {0} segment=2", ["'segment'", "'segments'"]),
        ("check sentence_reordering --corpus {0} segments=9", ["segments", "9"]),
        ("check toy --corpus {0} --task-module no.such", ["no.such", "does not import"]),
    ],
)
def test_a_mistake_gives_one_message(
    outside: Path, english: Corpus, words: str, parts: list[str]
) -> None:
    message = mistake("tasks", *words.format(english.folder).split())
    assert all(squeezed(part) in message for part in parts), message
