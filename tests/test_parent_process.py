"""A process that ends with the one that started it."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from ernie_cmtl.parent_process import ends_with_this_process

CHILD = """
import time
from ernie_cmtl.parent_process import stop_with_parent
stop_with_parent()
print("ready", flush=True)
time.sleep(60)
"""
PARENT = """
import os, subprocess, sys, time
from ernie_cmtl.parent_process import ends_with_this_process
variables = ends_with_this_process() if sys.argv[2] == "program" else {}
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=os.environ | variables)
print(child.pid, flush=True)
time.sleep(60)
"""


def child_after_kill_of_its_parent(kind: str, variables: dict[str, str]) -> psutil.Process:
    """Start a process that starts another, kill the first, and return the second."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD, kind],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        assert parent.stdout.readline() == "ready\n"
        parent.kill()
        return child


@pytest.mark.parametrize(
    ("kind", "variables"),
    [("program", {}), ("launcher", {"TORCHELASTIC_RUN_ID": "one"})],
)
def test_it_ends_soon(kind: str, variables: dict[str, str]) -> None:
    child = child_after_kill_of_its_parent(kind, variables)
    assert not psutil.wait_procs([child], timeout=10)[1]


def test_what_a_person_started_outlives_its_shell() -> None:
    child = child_after_kill_of_its_parent("shell", {})
    try:
        assert psutil.wait_procs([child], timeout=2.5)[1]
    finally:
        child.kill()


def test_it_ends_even_if_its_parent_ended_first() -> None:
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    (name,) = ends_with_this_process()
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        env=os.environ | {name: gone.stdout.strip()},
        check=False,
        timeout=20,
    )
    assert done.returncode == -signal.SIGTERM
