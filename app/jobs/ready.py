"""A trainer that has imported its libraries before a run begins: the first step comes seconds earlier."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from app.jobs import process
from trainer.files.job_folder import PROJECT, TRAIN, JobFolder
from trainer.jobs.waiting import can_wait_for

PATIENCE = 15 * 60.0
"""Seconds after the last sign that a run is near: then it is let go."""
ROOM = 4 << 30
"""Bytes of memory that must be free: it takes half a gigabyte while it waits."""


class ReadyTrainer:
    """At most one process that waits for a job. It ends with this program, or when it is let go."""

    def __init__(self, trainer: Sequence[str]) -> None:
        self.trainer = tuple(trainer)
        self._lock = threading.Lock()
        self._waiting: subprocess.Popen[str] | None = None
        self._environment: dict[str, str] = {}
        self._end: threading.Timer | None = None

    def expect(self, environment: Mapping[str, str]) -> None:
        """A run is near: have one wait for it, in this environment."""
        with self._lock:
            if not self._fits(environment):
                self._let_go()
                self._start(environment)
            self._set_end(PATIENCE)

    def take(self, job: JobFolder, verb: str, environment: Mapping[str, str]) -> subprocess.Popen[str] | None:
        """The process that does this job from now on; None where there is none that can."""
        with self._lock:
            fits = self._fits(environment) and job.told()["kind"] == TRAIN and can_wait_for(job)
            taken, self._waiting = self._waiting, None
            if self._end:
                self._end.cancel()
        if taken is None:
            return None
        order = {"verb": verb, "folder": str(job.path)} if fits else {}
        return taken if _tell(taken, order) and fits else None

    def let_go(self) -> None:
        """No run is near: it ends."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        if self._end:
            self._end.cancel()
        waiting, self._waiting = self._waiting, None
        if waiting:
            _tell(waiting, {})

    def _fits(self, environment: Mapping[str, str]) -> bool:
        alive = self._waiting is not None and self._waiting.poll() is None
        return alive and self._environment == dict(environment)

    def _start(self, environment: Mapping[str, str]) -> None:
        if psutil.virtual_memory().available < ROOM:
            return
        with suppress(OSError):  # then the run itself will say so
            self._waiting = process.converse(
                [*self.trainer, "wait"], folder=PROJECT, log=Path(os.devnull), environment=environment
            )
            self._environment = dict(environment)

    def _set_end(self, patience: float) -> None:
        if self._end:
            self._end.cancel()
        self._end = threading.Timer(patience, self.let_go)
        self._end.daemon = True
        self._end.start()


def _tell(waiting: subprocess.Popen[str], order: Mapping[str, str]) -> bool:
    """Hand over an order, {} for none, and say no more; whether it was there to hear it."""
    assert waiting.stdin  # noqa: S101  # a pipe
    assert waiting.stdout  # noqa: S101  # a pipe, too
    try:
        waiting.stdin.write(json.dumps(order) + "\n" if order else "")
        waiting.stdin.close()
        waiting.stdout.close()
    except OSError:
        return False
    if not order:
        threading.Thread(target=waiting.wait, name=f"wait-{waiting.pid}", daemon=True).start()
    return waiting.poll() is None
