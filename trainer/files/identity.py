"""Which process works on a job: told by what does not change when the clock is set.

A pid is used again; a pid with the start as the system itself counts it, and the boot that it counts from, is
not.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
SAME_START = 10.0
"""Seconds by which two readings of one start by the clock may differ."""


@dataclass(frozen=True)
class Identity:
    """One process of this machine, past or present."""

    pid: int
    started: float
    """Unix seconds, by the clock: for people, and where nothing better is known."""
    boot: str = ""
    """Linux's name of the time since the last boot; "" elsewhere."""
    start: float = 0.0
    """Linux: clock ticks since boot; elsewhere as psutil tells processes apart. 0: not known."""

    @classmethod
    def of(cls, pid: int) -> Identity:
        """A living process. Raises psutil.Error."""
        process = psutil.Process(pid)
        return cls(pid, process.create_time(), boot_id(), _start_of(process))

    @classmethod
    def own(cls) -> Identity:
        """This process."""
        return cls.of(os.getpid())

    @classmethod
    def from_json(cls, data: Any) -> Identity | None:
        """Read what `as_json` gave, or {"pid", "started"} of older versions; None for anything else."""
        try:
            known = int(data["pid"]), float(data["started"])
            return cls(*known, str(data.get("boot", "")), float(data.get("start", 0.0)))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            return None

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"pid": self.pid, "started": self.started, "boot": self.boot, "start": self.start}

    def find(self) -> psutil.Process | None:
        """The living process, or None when it has ended."""
        try:
            process = psutil.Process(self.pid)
            return process if self._is(process) and process.status() != psutil.STATUS_ZOMBIE else None
        except (psutil.Error, OSError, ValueError, OverflowError):
            return None

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.find() is not None

    def _is(self, process: psutil.Process) -> bool:
        if self.start:
            return (self.boot, self.start) == (boot_id(), _start_of(process))
        return abs(process.create_time() - self.started) < SAME_START


@cache
def boot_id() -> str:
    """Linux's name of the time since the last boot; "" elsewhere."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _start_of(process: psutil.Process) -> float:
    """When it was started, by what does not change with the clock.

    psutil's create_time() adds the boot time by the clock on Linux, and takes changes of the clock into
    account on macOS; Windows keeps what it noted at the start.
    """
    if not psutil.LINUX:
        return float(process._ident[1] or 0.0)  # noqa: SLF001  # pyright: ignore[reportAttributeAccessIssue]  # by which psutil itself tells processes apart
    stat = (Path("/proc") / str(process.pid) / "stat").read_bytes()
    return float(stat[stat.rindex(b")") :].split()[20])  # the name before it may hold anything
