"""A run's events in words: a progress bar on a terminal, plain lines in a pipe or a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trainer.events import (
    Event,
    Failed,
    Finished,
    Notice,
    Phase,
    Removed,
    Sampled,
    Saved,
    Started,
    Step,
    Stopped,
)
from trainer.messages import Message, printable, say

Listener = Callable[[Event], None]


def event_line(event: Event) -> str:
    """One line about an event; "" for those that only move a bar."""
    match event:
        case Started():
            return f"Training {event.total_steps} steps on {event.device}, seed {event.seed}"
        case Notice():
            return str(say(Message(event.code, event.values)))
        case Saved():
            at = f" at step {event.step}" if event.step else ""
            size = f" ({_size(event.size)})" if event.size else ""  # a folder has none
            return f"Saved {Path(event.path).name}{size}{at}"
        case Removed():
            return f"Removed {Path(event.path).name}"
        case Sampled():
            return f"Sample at step {event.step}: {event.prompt}"
        case Failed():
            return str(say(Message(event.code, event.values))) + (f"\n{event.trace}" if event.trace else "")
        case Stopped():
            at = f" at step {event.step}" if event.step else ""
            return f"Stopped{at}" + (f", saved {event.path}" if event.path else "")
        case Finished():
            return f"Finished after {event.step} steps: {event.path}" if event.step else "Done"
        case _:
            return ""


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def listener(stream: TextIO = sys.stdout) -> Listener:
    """What to do with each event so that a person can follow on this stream; it never raises."""
    show = _bar(stream) if stream.isatty() else _Lines(stream)

    def listen(event: Event) -> None:
        with suppress(OSError, ValueError):  # the log's disk is full, or nobody listens any more
            show(event)

    return listen


class _Lines:
    """Plain lines with the time; steps at most once in five seconds."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.total, self.shown, self.phase = stream, 0, 0.0, ""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self.total = event.total_steps
        if line := printable(self.line(event)):
            print(time.strftime("%H:%M:%S"), line, file=self.stream, flush=True)

    def line(self, event: Event) -> str:
        if isinstance(event, Phase) and event.name != self.phase:
            self.phase = event.name
            return event.name.replace("_", " ")
        if isinstance(event, Step) and (event.step == self.total or time.monotonic() - self.shown > 5):
            self.shown = time.monotonic()
            return f"step {event.step}/{self.total} epoch {event.epoch} loss {event.loss:.4f}"
        return event_line(event)


def _bar(stream: TextIO) -> Listener:
    """A rich progress bar with the events' lines above it."""
    console = Console(file=stream)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    progress = Progress(*columns, console=console)
    task = progress.add_task("start", total=None)
    progress.start()

    def listen(event: Event) -> None:
        if isinstance(event, Phase):
            progress.update(task, description=event.name.replace("_", " "))
        if isinstance(event, Phase) and event.total:
            progress.update(task, total=event.total, completed=event.done)
        if isinstance(event, Started):
            progress.update(task, total=event.total_steps, completed=event.first_step)
        if isinstance(event, Step):
            progress.update(task, completed=event.step, description=f"loss {event.loss:.4f}")
        if line := printable(event_line(event)):
            console.print(line, markup=False, highlight=False)
        if isinstance(event, (Failed, Stopped, Finished)):
            progress.stop()

    return listen
