"""Keeps the C library from hoarding freed memory while a model is loaded, and lets it do so afterwards."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

M_MMAP_THRESHOLD = -3
"""mallopt(3): blocks of at least this size are mapped one by one and given back as soon as they are freed."""
M_TRIM_THRESHOLD = -1
"""mallopt(3): so much free memory at the end of the heap is kept for what comes next."""
ONE_MIB = 1 << 20
LOADING = {M_MMAP_THRESHOLD: ONE_MIB}
QUICK_STEPS = {M_MMAP_THRESHOLD: 32 * ONE_MIB, M_TRIM_THRESHOLD: 1024 * ONE_MIB}
"""32 MiB is the most that glibc takes."""
WIDE_STEPS = {**QUICK_STEPS, M_MMAP_THRESHOLD: 12 * ONE_MIB}
SMALL_STEPS = {M_MMAP_THRESHOLD: ONE_MIB, M_TRIM_THRESHOLD: 128 << 10}
_in_steps = dict(QUICK_STEPS)


def choose_for_steps(*, small: bool, wide: bool = False) -> None:
    """Whether steps give freed memory back (`small`) or keep it for the next one, from now on.

    SDXL at 512 pixels with checkpointing and an 8-bit base: 4.3 GB instead of 4.9, for an eighth more
    processor time on a CPU. `wide`, numbers of 32 bits: large blocks go back, for a step computes long on
    each; SD 1.5 at 512 pixels takes 5.9 GB instead of 6.0 and no more processor time.
    """
    _in_steps.update(SMALL_STEPS if small else WIDE_STEPS if wide else QUICK_STEPS)
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
