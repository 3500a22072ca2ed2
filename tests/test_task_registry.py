"""Task names."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pretrain_tasks
from ernie_cmtl import task_registry
from ernie_cmtl.errors import UserError
from ernie_cmtl.task import PretrainTask
from ernie_cmtl.task_registry import add_task_module, describe_task, find_task, task_names

HEADER = (
    "from pretrain_tasks.capitalization import Capitalization\nfrom ernie_cmtl.task import "
    "PretrainTask\n"
)
A_TASK = "class {}(Capitalization):\n    pass\n"


@pytest.fixture
def added_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A second folder of task files, as if they lay beside the others."""
    before = set(vars(pretrain_tasks))
    with monkeypatch.context() as patch:
        patch.setattr(pretrain_tasks, "__path__", [*pretrain_tasks.__path__, str(tmp_path)])
        yield tmp_path

    for name in set(vars(pretrain_tasks)) - before:
        delattr(pretrain_tasks, name)
        sys.modules.pop(f"pretrain_tasks.{name}", None)


def test_names_are_the_files_of_the_tasks():
    folder = Path(pretrain_tasks.__file__).parent
    assert task_names() == sorted(
        path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")
    )
    assert {"knowledge_masking", "capitalization", "sentence_reordering"} <= set(task_names())


def test_each_name_leads_to_the_class_of_its_file():
    for name in task_names():
        task = find_task(name)
        assert issubclass(task, PretrainTask)
        assert task.__module__ == f"pretrain_tasks.{name}"


@pytest.mark.parametrize(
    "name", ["capitalisation", "", "../capitalization", "capitalization.Capitalization", "__init__"]
)
def test_unknown_task_is_refused_with_those_that_exist(name):
    with pytest.raises(UserError) as caught:
        find_task(name)
    assert repr(name) in str(caught.value)
    assert all(known in str(caught.value) for known in task_names())


def test_a_new_file_is_a_new_task(added_tasks):
    (added_tasks / "shouting.py").write_text(HEADER + A_TASK.format("Shouting"))
    assert "shouting" in task_names()
    assert find_task("shouting").__name__ == "Shouting"


@pytest.mark.parametrize(("classes", "count"), [(("One", "Two"), 2), ((), 0)])
def test_file_without_exactly_one_task_is_refused(added_tasks, classes, count):
    name = f"holds_{count}"
    # What a file imports is not its own.
    (added_tasks / f"{name}.py").write_text(
        HEADER + "".join(A_TASK.format(written) for written in classes)
    )
    with pytest.raises(
        UserError, match=rf"{name}\.py must hold exactly one PretrainTask, found {count}"
    ):
        find_task(name)


def test_a_module_by_its_full_name_is_a_task_of_this_process(tmp_path, monkeypatch):
    (tmp_path / "whispering.py").write_text(HEADER + A_TASK.format("Whispering"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(task_registry.TASKS, "_modules", {})
    assert add_task_module("whispering") == "whispering"
    assert "whispering" in task_names()
    assert find_task("whispering").__name__ == "Whispering"
    del sys.modules["whispering"]


def test_description_tells_heads_and_languages():
    assert describe_task("capitalization") == {
        "name": "capitalization",
        "family": "lexical",
        "layers": ["letter_case"],
        "heads": [{"name": "capital", "kind": "token_class", "classes": 2}],
        "languages": ["en"],
        "citation": "ERNIE 2.0, section 4.2.1",
    }
    assert describe_task("sentence_reordering")["heads"] == [
        {"name": "order", "kind": "sequence_class", "classes": 9}
    ]
    assert describe_task("knowledge_masking")["languages"] == ["en", "zh"]
    assert describe_task("ir_relevance")["layers"] == ["retrieved"]
