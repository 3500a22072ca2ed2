"""What is asked of the machine."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import ctypes
import resource
import torch
from ernie_cmtl.training.device import keep_freed_memory

def step():
    tensors = [torch.ones(4 * 2**20) for _ in range(4)]  # 16 MB each

# The threshold that a process begins with; glibc moves it by itself otherwise.
ctypes.CDLL(None).mallopt(-3, 128 * 1024)
KEEP
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
OF_ALL_TENSORS = 20 * 4 * 16 * 2**20 // os.sysconf("SC_PAGE_SIZE")
"""If each of them comes from the system anew."""


def page_faults(keep: str, **environment: str) -> int:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MALLOC_", "GLIBC_"))
    }
    command = [sys.executable, "-c", FAULTS.replace("KEEP", keep)]
    return int(
        subprocess.run(
            command, env=clean | environment, capture_output=True, text=True, check=True
        ).stdout
    )


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_kept_for_the_next_step_unless_the_environment_says_otherwise() -> None:
    assert page_faults("") > 0.9 * OF_ALL_TENSORS
    assert page_faults("keep_freed_memory()") < 0.3 * OF_ALL_TENSORS
    assert page_faults("keep_freed_memory()", MALLOC_MMAP_THRESHOLD_="65536") > 0.9 * OF_ALL_TENSORS
