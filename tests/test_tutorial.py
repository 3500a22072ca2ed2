"""The tutorial does what it says: its commands and programs run in the order of the page."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from tests.support.command_line import ROOT, call

BLOCK = re.compile(r"^```(bash|python|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHORTER = {"--tokens 600000": "--tokens 170000"}
"""What the test does in less time."""


def run_command(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "python":
        assert words[1] == "-m"
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sys, "argv", [words[2], *words[3:]])
            runpy.run_module(words[2], run_name="__main__")
        return
    assert words[0] == "ernie-cmtl"
    done = call(*words[1:])
    assert done.exit_code == 0, (command, done.stderr)


def test_every_command_and_program_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("altair")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    for kind, block in BLOCK.findall(page):
        if kind == "yaml":
            (tmp_path / "kinds.yaml").write_text(block)
        elif kind == "python":
            exec(block, {})
        else:
            for long, short in SHORTER.items():
                block = block.replace(long, short)
            for command in block.strip().splitlines():
                run_command(command)
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == 48
    assert {answer["label"] for answer in answers} <= {"question", "statement"}
    kept = json.loads((tmp_path / "classifier/finetuning.json").read_text())
    assert kept["kept"]["dev"]["accuracy"] > 0.5
    (shown,) = re.findall(r"'label': '(\w+)'", capsys.readouterr().out)
    assert shown in {"question", "statement"}
    for page_of in ("report.html", "classifier.html"):
        assert (tmp_path / page_of).stat().st_size > 500_000
