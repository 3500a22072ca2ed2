"""What verbs share."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ernie_cmtl.cli.shared import print_result


@pytest.mark.parametrize(("rank", "speaks"), [(None, True), ("0", True), ("1", False)])
def test_of_many_workers_one_prints_the_result(
    rank: str | None,
    speaks: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if rank:
        monkeypatch.setenv("RANK", rank)
    print_result({"steps": 3}, True, lambda: "")
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"steps": 3} if speaks else not printed


def test_lines_are_printed_as_text_and_a_reader_may_leave() -> None:
    code = (
        "from ernie_cmtl.cli.shared import print_lines, one_message\n"
        "one_message(print_lines)(f'{number}\\ta\\x1b[2J' for number in range(100_000))\n"
    )
    command = f'{sys.executable} -c "$CODE" | head -2'
    done = subprocess.run(
        command,
        shell=True,
        env=os.environ | {"CODE": code},
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.splitlines() == ["0\ta\\x1b[2J", "1\ta\\x1b[2J"]
    assert "BrokenPipe" not in done.stderr
