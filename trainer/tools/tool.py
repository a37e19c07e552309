"""What a tool is: a form of its own, what is looked at before it runs, and the function that runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trainer.errors import StopRequested
from trainer.events import Event, Level, Notice, Phase, Saved
from trainer.messages import Message
from trainer.problems import Problem
from trainer.schema import Schema

ToolGroup = Literal["pictures", "lora"]
EVERY = 0.25
"""Seconds between two words of how far a tool is."""


@dataclass
class Work:
    """What a running tool has beside its settings: whom it tells, whether it is to stop, its job's folder."""

    emit: Callable[[Event], None]
    stop_requested: Callable[[], bool]
    folder: Path
    """Of the job: for what lies between two starts of it."""
    resume: bool = False
    """It goes on with what an earlier start has left in the folder."""
    _told: float = field(default=0.0, init=False)
    _at: tuple[int, int] = field(default=(0, 0), init=False)

    def report(self, done: int, total: int) -> None:
        """Say how far it is. Raises StopRequested where it is to stop."""
        if self.stop_requested():
            raise StopRequested
        now = time.monotonic()
        at_end = done >= total and self._at != (done, total)
        if at_end or now - self._told >= EVERY:
            self._told, self._at = now, (done, total)
            self.emit(Phase("work", done, total))

    def tell(self, code: str, level: Level = "info", **values: Any) -> None:
        """Say what was found, by its code in the texts."""
        self.emit(Notice(code, values, level))

    def saved(self, path: Path, kind: str = "lora") -> Path:
        """Say that a file (or folder) was written; returns it."""
        size = path.stat().st_size if path.is_file() else 0
        self.emit(Saved(0, 0, str(path), size, kind, final=True))
        return path


def _nothing(_form: Any) -> Iterable[Problem]:
    return ()


@dataclass(frozen=True)
class Tool:
    """One tool, as page, command line and jobs see it."""

    name: str
    """Of the command, and the kind of its jobs."""
    group: ToolGroup
    schema: Schema[Any]
    run: Callable[[Any, Work], Path | None]
    """Does it; returns what was made. Raises UserError, StopRequested, OSError."""
    check: Callable[[Any], Iterable[Problem]] = _nothing
    """Problems that only this tool can know. Quick, and loads no torch."""
    suffix: str = ""
    """What the name that is proposed for its result ends in."""
    preview: Callable[[Any], Sequence[Message]] | None = None
    """What it would do, line by line, without doing it."""
    resumes: bool = False
    """Whether a stopped job can go on."""
    light: bool = False
    """It needs no graphics card and little memory: its jobs need not wait for what is at work."""
    proposes: bool = False
    """Whether it leaves captions to be looked at (see proposals)."""
