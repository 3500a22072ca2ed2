"""Every example of `--help` and of the README works as it stands after the quickstart."""

import importlib
import pkgutil
import re
import shutil
from pathlib import Path

import pytest

from ernie_cmtl import cli
from tests.support.command_line import ROOT, Line, call

EXAMPLES = {
    module.name: importlib.import_module(f"{cli.__name__}.{module.name}").EXAMPLE
    for module in pkgutil.iter_modules(cli.__path__)
    if hasattr(importlib.import_module(f"{cli.__name__}.{module.name}"), "EXAMPLE")
}
README = (ROOT / "README.md").read_text(encoding="utf-8")
LEFT_BY_QUICKSTART = {"text", "corpus", "run", "export", "report"}
FAILED = 1
"""A check of a task that does not pass is an answer, too."""


def commands(text: str) -> list[list[str]]:
    """Return the words of each command; a full stop and a space end one."""
    return [found.split() for found in re.findall(r"ernie-cmtl ((?:[^.`\n]|\.(?! |$))+)", text)]


@pytest.fixture
def quickstart(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks as after the quickstart, with the tiny line in place of its own."""
    left = tmp_path / "runs/quickstart"
    (left / "text").mkdir(parents=True)
    shutil.copy(line.folder / "text.jsonl", left / "text")
    (left / "corpus").symlink_to(line.corpus)
    shutil.copytree(line.run, left / "run")
    shutil.copytree(line.folder / "model", left / "export")
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copy(line.config, tmp_path / "configs/quickstart.yaml")
    cola = tmp_path / "sets/cola"
    cola.mkdir(parents=True)
    rows = [
        f"{number % 2}\tthe list {'is' if number % 2 else 'are'} {number}" for number in range(20)
    ]
    for name in ("train", "dev_in", "dev_out"):
        (cola / f"{name}.tsv").write_text("\n".join(["label\tsentence", *rows]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_verb_has_an_example() -> None:
    assert set(EXAMPLES) == {
        *("bench", "compare", "evaluate", "export", "extend", "finetune", "init", "inspect"),
        *(
            "plan",
            "predict",
            "prepare",
            "pretrain",
            "report",
            "settings",
            "tasks",
            "tasks_check",
            "watch",
        ),
    }


@pytest.mark.parametrize("verb", EXAMPLES)
def test_the_example_of_help_runs_after_the_quickstart(quickstart: Path, verb: str) -> None:
    found = commands(EXAMPLES[verb])
    assert found[0][: 1 + verb.count("_")] == verb.split("_")
    for words in found:
        done = call(*words)
        assert done.exit_code in ((0, FAILED) if verb == "tasks_check" else (0,)), done.stderr
        assert done.exception is None or isinstance(done.exception, SystemExit)
        assert done.stdout


def test_the_model_of_the_readme_is_used_as_it_says(quickstart: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    exec(block, names)
    assert names["outputs"].last_hidden_state.shape[-1] == 32  # type: ignore[attr-defined]


def test_what_the_quickstart_leaves_is_called_the_same_everywhere() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert set(re.findall(r"\$\(QUICK\)/(\w+)", makefile)) == LEFT_BY_QUICKSTART
    documents = [README, *(path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md"))]
    for text in (*documents, *EXAMPLES.values()):
        for path in re.findall(r"runs/quickstart\S*", text):
            assert re.match(rf"runs/quickstart/({'|'.join(LEFT_BY_QUICKSTART)})\b", path), path


def test_commands_of_the_readme_name_verbs_that_are_there() -> None:
    blocks = "\n".join(re.findall(r"```\n(.*?)```", README, re.DOTALL))
    targets = set(re.findall(r"^make (\w+)", blocks, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets
    assert all(f"\n{target}:" in makefile for target in targets)
    named = {words[0] for words in commands(README) if words[0] != "VERB"}
    assert named <= {name.partition("_")[0] for name in EXAMPLES}
