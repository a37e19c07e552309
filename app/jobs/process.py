"""Starts and ends one process, the same way on Windows, Linux and macOS."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from trainer.files.identity import Identity

PASSWORD_VARIABLE = "LORA_ATELIER_PASSWORD"  # noqa: S105  # its name
"""May hold the page's password when it is started; no business of a trainer's."""


def start_process(
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
    return watched(popen, ended)


def watched(popen: subprocess.Popen[Any], ended: Callable[[int], None]) -> Identity:
    """Who that process is; `ended(code)` is called as above."""
    threading.Thread(target=lambda: ended(popen.wait()), name=f"wait-{popen.pid}", daemon=True).start()
    try:
        return Identity.of(popen.pid)
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
