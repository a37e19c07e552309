"""Starts, finds and ends one process, the same way on Windows, Linux and macOS.

A process is known by pid *and* start time: pids are used again, start times are not.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

PASSWORD_VARIABLE = "LORA_ATELIER_PASSWORD"  # noqa: S105  # its name
"""May hold the page's password when it is started; no business of a trainer's."""
SAME_START = 10.0
"""Seconds by which two readings of one start time may differ (clocks are set while a machine runs)."""


@dataclass(frozen=True)
class Identity:
    """One process of this machine, past or present. `started` is psutil's create_time (unix seconds)."""

    pid: int
    started: float

    @classmethod
    def own(cls) -> Identity:
        """This process."""
        return cls(os.getpid(), psutil.Process().create_time())

    @classmethod
    def from_json(cls, data: Any) -> Identity | None:
        """Read {"pid", "started"}; None for anything else."""
        try:
            return cls(int(data["pid"]), float(data["started"]))
        except (KeyError, TypeError, ValueError):
            return None

    def as_json(self) -> dict[str, float]:
        """As plain data."""
        return {"pid": self.pid, "started": self.started}

    def find(self) -> psutil.Process | None:
        """The living process, or None when it has ended."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < SAME_START
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (psutil.Error, OSError, ValueError):
            return None

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.find() is not None


def start(
    arguments: Sequence[str],
    *,
    folder: Path,
    log: Path,
    environment: Mapping[str, str],
    ended: Callable[[int], None],
) -> Identity:
    """Start a process that outlives this one; its output is appended to `log`.

    It gets a session of its own, so that Ctrl-C in our terminal does not reach it. `ended(code)` is
    called from a thread when it ends while we are still here. Raises OSError.
    """
    with log.open("ab") as output:
        popen = subprocess.Popen(
            list(arguments),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(environment),
            close_fds=True,
            **_own_session(),
        )
    threading.Thread(target=lambda: ended(popen.wait()), name=f"wait-{popen.pid}", daemon=True).start()
    try:
        return Identity(popen.pid, psutil.Process(popen.pid).create_time())
    except psutil.Error:  # it has ended already
        return Identity(popen.pid, 0.0)


def converse(
    arguments: Sequence[str], *, folder: Path, log: Path, environment: Mapping[str, str]
) -> subprocess.Popen[str]:
    """Start a process that answers lines of text with lines of text; its complaints go to `log`.

    It is meant to end when its input does, so it never outlives this process for long. Raises OSError.
    """
    with log.open("wb") as complaints:
        return subprocess.Popen(
            list(arguments),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            encoding="utf-8",
            bufsize=1,
            env=_environment(environment),
            close_fds=True,
            **_own_session(),
        )


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """Ours and `more`, without the page's password."""
    return {**{name: text for name, text in os.environ.items() if name != PASSWORD_VARIABLE}, **more}


def _own_session() -> dict[str, Any]:
    if os.name == "nt":
        flags = "CREATE_NEW_PROCESS_GROUP", "CREATE_NO_WINDOW"
        return {"creationflags": sum(getattr(subprocess, flag) for flag in flags)}
    return {"start_new_session": True}


def end(identity: Identity, patience: float = 3.0) -> None:
    """End a process and its children: politely, and after `patience` seconds by force."""
    process = identity.find()
    if process is None:
        return
    try:
        family = [*process.children(recursive=True), process]
    except psutil.Error:
        family = [process]
    _each(family, psutil.Process.terminate)
    _, stubborn = psutil.wait_procs(family, timeout=patience)
    _each(stubborn, psutil.Process.kill)
    psutil.wait_procs(stubborn, timeout=patience)


def _each(processes: Sequence[psutil.Process], act: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        try:
            act(process)
        except psutil.NoSuchProcess:  # noqa: PERF203  # one may end before its turn
            continue
