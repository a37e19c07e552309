"""How much memory this machine has, asked without torch."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import psutil

NVIDIA_SMI = ("/usr/lib/wsl/lib/nvidia-smi", r"C:\Program Files\NVIDIA Corporation\NVSMI\nvidia-smi.exe")
"""Where it lies when it is not on the PATH (WSL, old Windows drivers)."""
PATIENCE = 10.0
"""Seconds that the graphics driver has to answer."""
MEGABYTE = 1024**2


def memory() -> int:
    """Bytes of the machine's memory, swap counted in."""
    return psutil.virtual_memory().total + psutil.swap_memory().total


@cache
def graphics_memory() -> int:
    """Bytes of the largest graphics card with memory of its own; 0 where none is found.

    The driver is asked once: that takes up to some seconds.
    """
    return max([0, *_nvidia(), *_amd()])


def _nvidia() -> list[int]:
    program = shutil.which("nvidia-smi") or next((place for place in NVIDIA_SMI if Path(place).is_file()), "")
    if not program:
        return []
    words = [program, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [int(line) * MEGABYTE for line in answer.split() if line.isdigit()]


def _amd() -> list[int]:
    """Linux's driver writes it into a file."""
    try:
        files = list(Path("/sys/class/drm").glob("card*/device/mem_info_vram_total"))
        return [int(file.read_text()) for file in files]
    except (OSError, ValueError):
        return []
