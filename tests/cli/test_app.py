"""The verbs as a person or a script uses them: one result on standard output, one message for each
mistake.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ernie_cmtl.cli.app import app
from tests.support.command_line import ROOT, TASKS, Line, call, squeezed

VERBS = [
    "prepare",
    "tasks",
    "inspect",
    "plan",
    "pretrain",
    "extend",
    "evaluate",
    "finetune",
    "predict",
    "compare",
    "export",
    "bench",
    "report",
    "watch",
    "init",
    "settings",
]


def test_help_lists_exactly_the_verbs() -> None:
    commands = squeezed(call("--help").stdout).partition("Commands")[2]
    assert all(verb in commands for verb in VERBS)
    named = {command.callback.__name__ for command in app.registered_commands if command.callback}
    assert named | {group.name for group in app.registered_groups} == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_shows_an_example_that_its_options_allow(verb: str) -> None:
    done = call(verb, "--help")
    assert done.exit_code == 0
    options, _, example = " ".join(done.stdout.split()).partition("Example: ")
    assert example.startswith(f"ernie-cmtl {verb}")
    assert all(option in options for option in re.findall(r"--[a-z-]+", example))
    assert "--json" in options


def test_people_see_a_table_in_place_of_the_json(line: Line) -> None:
    done = call("evaluate", line.run)
    shown = (done.stdout + done.stderr).partition("retention")[0]
    assert done.exit_code == 0
    for name, score in line.evaluated["heldout"].items():
        (row,) = (text for text in shown.splitlines() if name in text)
        assert f"{score['loss']:.4f}" in row
    assert "{" not in shown


def test_the_launcher_runs_the_verbs_in_a_process_of_its_own(tmp_path: Path) -> None:
    def launch(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "launch.py"), *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    listed = launch("tasks", "--json")
    assert (listed.returncode, [row["name"] for row in json.loads(listed.stdout)]) == (0, TASKS)
    wrong = launch("prepare", "--input", "absent.txt", "--output", "o", "--language", "en")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.strip() == "error: no such file, folder or glob: absent.txt"
