"""Keeps the C library from hoarding freed memory while a model is loaded, and lets it do so afterwards."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

M_MMAP_THRESHOLD = -3
"""mallopt(3): blocks of at least this size are mapped one by one and given back as soon as they are freed."""
M_MMAP_MAX = -4
"""mallopt(3): how many blocks may be mapped one by one at a time."""
M_TRIM_THRESHOLD = -1
"""mallopt(3): so much free memory at the end of the heap is kept for what comes next."""
ONE_MIB = 1 << 20
MANY = 1 << 16
"""glibc's own M_MMAP_MAX."""
LOADING = {M_MMAP_MAX: MANY, M_MMAP_THRESHOLD: ONE_MIB}
QUICK_STEPS = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 1024 * ONE_MIB}
SMALL_STEPS = {**LOADING, M_TRIM_THRESHOLD: 128 << 10}
_in_steps = dict(QUICK_STEPS)


def choose_for_steps(*, small: bool) -> None:
    """Whether steps give freed memory back (`small`) or keep all of it for the next one, from now on.

    SDXL at 512 pixels with checkpointing and an 8-bit base: 4.3 GB instead of 4.9, for an eighth more
    processor time on a CPU.
    """
    _in_steps.update(SMALL_STEPS if small else QUICK_STEPS)
    _set(_in_steps)


@contextmanager
def returning_freed_memory() -> Iterator[None]:
    """Inside, freed tensors go back to the system at once; afterwards they are kept for the next (glibc).

    Loading frees what it will never need again, between weights that stay: those gaps would be lost. A
    training step frees what the next step asks for again: mapped anew each time, SD 1.5 at 512 pixels takes
    1.3 to 1.45 times the time on a CPU (two million page faults a step); kept, it needs 0.5 GB more in
    bfloat16 (`choose_for_steps`). Elsewhere nothing is done.
    """
    _set(LOADING)
    try:
        yield
    finally:
        _set(_in_steps)


def _set(limits: dict[int, int]) -> None:
    if not sys.platform.startswith("linux"):
        return
    # Other C libraries of Linux (musl) have none and hoard nothing.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, size in limits.items():
            mallopt(name, size)
