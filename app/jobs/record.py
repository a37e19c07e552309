"""What a job has written so far, read piece by piece: curves, samples, files, notices, the end.

events.jsonl may grow to a hundred thousand lines, so it is read once, from where the last reading
stopped, and kept as plain arrays.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from trainer import events
from trainer.events import (
    Event,
    Failed,
    Finished,
    Judged,
    Phase,
    Removed,
    Sampled,
    Saved,
    Started,
    Step,
    Stopped,
)

LOG_KEPT = 2000
ENDS = (Failed, Finished, Stopped)
PIECE = 8 << 20
"""Bytes read at once."""


@dataclass(frozen=True)
class LogEntry:
    """One line of the log: when, what. `event` is put into words for each reader."""

    number: int
    time: float
    event: Event


@dataclass
class PhaseTime:
    """A phase of the run and how long it took (seconds)."""

    name: str
    began: float
    seconds: float = 0.0


@dataclass
class Curves:
    """Step by step: step number, loss, smoothed loss, rate of each parameter group."""

    steps: array[int] = field(default_factory=lambda: array("q"))
    losses: array[float] = field(default_factory=lambda: array("d"))
    smoothed: array[float] = field(default_factory=lambda: array("d"))
    rates: dict[str, array[float]] = field(default_factory=dict)
    smoothing: float = 0.95
    """Share of the old value in the moving average."""

    def add(self, step: int, loss: float, rates: Mapping[str, float]) -> None:
        """Append one step; steps at or behind `step` (a run that continues) are replaced."""
        if self.steps and step <= self.steps[-1]:
            self.cut(step - 1)
        before = self.smoothed[-1] if self.smoothed else loss
        count = len(self.steps)
        share = min(self.smoothing, count / (count + 1))  # the first steps: their plain mean
        self.steps.append(step)
        self.losses.append(loss)
        self.smoothed.append(share * before + (1 - share) * loss)
        for name, rate in rates.items():
            if name not in self.rates:
                self.rates[name] = array("d", [0.0] * count)
            self.rates[name].append(rate)
        for line in self.rates.values():  # a group that this step does not name keeps its rate
            line.extend([line[-1]] * (count + 1 - len(line)))

    def cut(self, last: int) -> None:
        """Forget what lies behind step `last`."""
        keep = bisect_right(self.steps, last)
        for line in (self.steps, self.losses, self.smoothed, *self.rates.values()):
            del line[keep:]

    def thinned(self, begin: int, most: int) -> list[int]:
        """At most `most` indices from `begin` on that keep the look of the curve.

        Each stretch gives its lowest and its highest loss.
        """
        count = len(self.steps) - begin
        if count <= most:
            return list(range(begin, len(self.steps)))
        stretches = max(1, most // 2)
        indices: list[int] = []
        for part in range(stretches):
            low, high = begin + part * count // stretches, begin + (part + 1) * count // stretches
            stretch = range(low, high)
            indices += sorted(
                {min(stretch, key=self.losses.__getitem__), max(stretch, key=self.losses.__getitem__)}
            )
        indices[-1] = len(self.steps) - 1
        return indices


class JobRecord:
    """Everything read from one job's events.jsonl. Not safe for threads by itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reset()

    def reset(self) -> None:
        """Forget all; the next `read` begins at the first line."""
        self.offset = 0
        self.generation = getattr(self, "generation", 0) + 1
        self.version = 0
        self.curves = Curves()
        self.started: Started | None = None
        self.phase: Phase | None = None
        self.phases: list[PhaseTime] = []
        self.samples: dict[tuple[int, int], Sampled] = {}
        self.files: dict[str, Saved] = {}
        self.judged: dict[int, Judged] = {}
        self.log: deque[LogEntry] = deque(maxlen=LOG_KEPT)
        self.log_count = 0
        self.end: Failed | Finished | Stopped | None = None
        self.began = self.moment = 0.0
        self._heard = events.steady()  # when the last line was read
        self.epoch = 0
        self.memory = self.memory_peak = 0
        self.grad_norm = 0.0
        self._earlier = 0.0  # seconds of processes before this one (a run that was continued)
        self._step_seconds: deque[float] = deque(maxlen=64)
        self._sample_seconds: deque[float] = deque(maxlen=16)
        self._step_before: float | None = None

    @property
    def step(self) -> int:
        """The last step made."""
        return (
            self.curves.steps[-1] if self.curves.steps else (self.started.first_step if self.started else 0)
        )

    @property
    def total(self) -> int:
        """All steps of the run; 0 while unknown."""
        return self.started.total_steps if self.started else 0

    @property
    def plan(self) -> Mapping[str, Any]:
        """Plan.as_json() of the run, or nothing yet."""
        return self.started.plan if self.started and isinstance(self.started.plan, dict) else {}

    def read(self) -> None:
        """Take what was appended since the last reading; whole lines only."""
        try:
            size = self.path.stat().st_size
        except OSError:
            return
        if size < self.offset:
            self.reset()
        while self.offset < size:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                piece = file.read(PIECE)
            whole = piece[: piece.rfind(b"\n") + 1]
            if not whole:
                return
            self.offset += len(whole)
            self._heard = events.steady()
            for line in whole.splitlines():
                self._line(line)

    def _line(self, line: bytes) -> None:
        if b'"event": "step"' in line[:24]:  # nearly all lines are steps: the short way
            try:
                data = json.loads(line)
                loss, rates = float(data["loss"]), data["lr"]
                step = Step(
                    data["step"], data["epoch"], loss, rates, float(data["grad_norm"]), data["memory"]
                )
                self._step(float(data["time"]), step)
            except (ValueError, KeyError, TypeError, AttributeError):
                return
        elif (parsed := events.parse(line)) is not None:
            self._take(*parsed)

    def _take(self, moment: float, event: Event) -> None:
        """File one event."""
        gap, self.moment = moment - self.moment, moment
        if isinstance(event, Step):
            self._step(moment, event)
        elif isinstance(event, Phase):
            self._phase(moment, gap, event)
        else:
            self._note(moment, event)

    def _note(self, moment: float, event: Event) -> None:
        self.version += 1
        if isinstance(event, Started):
            self.started = event
            self.curves.cut(event.first_step)
            self.curves.smoothing = 1 - 1 / min(500, max(8, event.total_steps / 15))
            self.samples = {key: value for key, value in self.samples.items() if key[0] <= event.first_step}
            self.judged = {step: value for step, value in self.judged.items() if step <= event.first_step}
        elif isinstance(event, Sampled):
            self.samples[event.step, event.index] = event
            self._sample_seconds.append(moment - self._sample_began)
            self._sample_began = moment
        elif isinstance(event, Saved):
            self.files.pop(event.path, None)
            self.files[event.path] = event
        elif isinstance(event, Judged):
            self.judged[event.step] = event
        elif isinstance(event, Removed):
            self.files.pop(event.path, None)
        elif isinstance(event, ENDS):
            self.end = event
            self._close_phase(moment)
        self._log(moment, event)

    def _log(self, moment: float, event: Event) -> None:
        self.log.append(LogEntry(self.log_count, moment, event))
        self.log_count += 1

    def _phase(self, moment: float, gap: float, phase: Phase) -> None:
        if phase.name == "start":
            self._begin(moment, gap)
            self._log(moment, phase)
        if phase.name == "sample" and (self.phase is None or self.phase.name != "sample"):
            self._sample_began = moment
        same = self.phase is not None and self.phase.name == phase.name
        self.phase = phase
        self._step_before = None
        if not same:
            self._close_phase(moment)
            self.phases.append(PhaseTime(phase.name, moment))

    def _begin(self, moment: float, gap: float) -> None:
        """A process begins: the first one, or one that continues the run."""
        if self.began:
            self._earlier += max(0.0, moment - gap - self.began)
        self.began = moment
        self.end = None
        self.phases = []
        self.phase = None
        self._step_seconds.clear()

    def _close_phase(self, moment: float) -> None:
        if self.phases:
            self.phases[-1].seconds = moment - self.phases[-1].began

    def _step(self, moment: float, step: Step) -> None:
        if self._step_before is not None:
            self._step_seconds.append(moment - self._step_before)
        self._step_before = self.moment = moment
        if self.phase is None or self.phase.name != "train":  # a step after samples or a save
            self._phase(moment, 0.0, Phase("train", step.step, self.total))
            self._step_before = moment
        self.curves.add(step.step, step.loss, step.lr)
        self.epoch, self.memory = step.epoch, step.memory
        self.memory_peak = max(self.memory_peak, step.memory)

    _sample_began = 0.0

    def elapsed(self, *, at_work: bool) -> float:
        """Seconds of work so far, pauses between two processes left out; `at_work`: it goes on just now.

        Counted from event to event and from the last one heard, never against the clock, which may be set.
        """
        if not self.began:
            return 0.0
        since = events.steady() - self._heard if at_work else 0.0
        return self._earlier + max(0.0, self.moment - self.began) + since

    def seconds_per_step(self) -> float:
        """A typical step of late; 0 while unknown."""
        return median(self._step_seconds) if len(self._step_seconds) >= 2 else 0.0

    def remaining(self) -> float | None:
        """Seconds until the end, sample pictures counted in; None while unknown, and after the last step."""
        each = self.seconds_per_step()
        if not each or self.step >= self.total:
            return None
        mean = sum(self._step_seconds) / len(self._step_seconds)
        points = [step for step in self.plan.get("sample_steps", ()) if step > self.step]
        pictures = len(points) * int(self.plan.get("samples", 0) or 0)
        per_picture = median(self._sample_seconds) if self._sample_seconds else 0.0
        return max(0.0, (self.total - self.step) * max(each, min(mean, 2 * each)) + pictures * per_picture)

    def lora_files(self) -> Sequence[Saved]:
        """LoRA files this run has written and not removed, oldest first."""
        return [file for file in self.files.values() if file.kind == "lora"]
