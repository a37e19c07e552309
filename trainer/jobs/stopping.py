"""Stop before the first step: whatever the process is busy with, it ends at once.

Importing libraries, reading a model from a slow disk or looking through folders on a network drive cannot be
interrupted from within; and nothing is lost by ending them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

LOOK_EVERY = 0.2
"""Seconds between two looks."""


class EarlyStop:
    """Looks for Stop from a thread, until training begins."""

    def __init__(self, requested: Callable[[], bool], leave: Callable[[], None]) -> None:
        """`leave` ends the process; it does not return."""
        self._requested = requested
        self._leave = leave
        self._lock = threading.Lock()
        self._over = threading.Event()

    def watch(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._look, name="early stop", daemon=True).start()

    def _look(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            with self._lock:
                if not self._over.is_set() and self._requested():
                    self._leave()

    def over(self) -> None:
        """From now on a Stop is the training loop's to see."""
        with self._lock:
            self._over.set()
