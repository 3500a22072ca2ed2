"""A temporary folder does not outlive its process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ernie_cmtl.temporary_folder import temporary_folder
from tests.support.imports import FILES, imports_of

WORK = """
import time
from ernie_cmtl.temporary_folder import temporary_folder
with temporary_folder() as folder:
    (folder / "model").mkdir()
    (folder / "model" / "weights").write_text("1")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT])
def test_a_process_that_is_asked_to_end_removes_it(tmp_path: Path, number: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WORK],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        assert len(list(tmp_path.glob("ernie-cmtl-*/model/weights"))) == 1
        process.send_signal(number)
        # Python ends by the signal itself where Ctrl-C has ended it.
        assert process.wait(20) in (128 + number, -number)
    assert not list(tmp_path.iterdir())


def test_signals_do_what_they_did_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with temporary_folder() as folder:
        assert folder.is_dir()
        assert signal.getsignal(signal.SIGTERM) != before
    assert not folder.exists()
    assert signal.getsignal(signal.SIGTERM) == before


def test_nothing_makes_temporary_files_in_another_way() -> None:
    assert {module for module in FILES if "tempfile" in imports_of(module)} == {
        "ernie_cmtl.temporary_folder"
    }
