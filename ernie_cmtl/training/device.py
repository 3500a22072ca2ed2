"""What the device can do, and what was used of it."""

import ctypes
import math
import os
import resource
import sys

import torch

from ernie_cmtl.training.clock import Clock

_KNOWN_PEAKS = {"H200": 989e12, "H100 80GB HBM3": 989e12, "A100": 312e12}
"""Operations a second of dense bf16, by a part of the device's name."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names that mallopt of glibc has for them."""


def keep_freed_memory() -> None:
    """Let glibc keep the memory that a step frees for the next one; a choice made in the
    environment stands.

    Else large tensors come from the system each time, which clears every page before it is written.
    Other C libraries have no such setting and are left alone.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return
    if set_option := getattr(ctypes.CDLL(None), "mallopt", None):
        set_option(_MMAP_THRESHOLD, 32 * 2**20)  # The most that it documents.
        set_option(_TRIM_THRESHOLD, 2**31 - 1)


def peak_flops(device: torch.device, precision: str) -> tuple[float, str]:
    """Return the operations a second that a device can do, and where the figure is from: known or
    measured.
    """
    if device.type == "cuda" and precision == "bf16":
        name = torch.cuda.get_device_name(device)
        if found := [peak for part, peak in _KNOWN_PEAKS.items() if part in name]:
            return found[0], "known"
    size = 8192 if device.type == "cuda" else 1024
    factors = torch.ones(
        2, size, size, dtype=torch.bfloat16 if precision == "bf16" else torch.float32, device=device
    )
    clock = Clock(device)
    least = math.inf
    for _ in range(10):
        clock.seconds.clear()
        with clock("product"):
            torch.mm(factors[0], factors[1])
        least = min(least, clock.seconds["product"])
    return 2 * size**3 / least, "measured"


def peak_memory(device: torch.device) -> int:
    """Return the most bytes used so far: of a GPU's memory by tensors, or by this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def has_fast_bf16() -> bool:
    """Tell whether the GPU, or the processor where there is none, computes bf16 in hardware."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported()) or bool(torch.cpu._is_amx_tile_supported())
