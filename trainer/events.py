"""What the trainer tells the page: one JSON object per line in the job folder's events.jsonl.

A closed union of small frozen dataclasses. Lines are appended whole; readers take whole lines only, so
neither side ever sees half an event.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

Level = Literal["info", "warning", "error"]
PhaseName = Literal[
    "start", "load_model", "read_images", "cache_texts", "cache_latents", "train", "sample", "judge", "save",
    "end", "work",
]  # fmt: skip
"""What a process is busy with; "work" is a tool's."""


@dataclass(frozen=True)
class Started:
    """The run begins. `plan` is Plan.as_json(); `first_step` is not 0 where a run continues."""

    total_steps: int
    epochs: int
    seed: int
    device: str
    plan: Mapping[str, Any] = field(default_factory=dict)
    first_step: int = 0
    memory_total: int = 0
    """Bytes of the GPU, or of the machine where it trains on the processor."""


@dataclass(frozen=True)
class Phase:
    """What is going on; `done` of `total` where it can be counted (else 0 of 0)."""

    name: PhaseName
    done: int = 0
    total: int = 0
    path: str = ""
    """The file that is being written."""


@dataclass(frozen=True)
class Step:
    """One optimizer step. `lr`: rate per parameter group ("unet", "text_encoder", …)."""

    step: int
    epoch: int
    loss: float
    lr: Mapping[str, float]
    grad_norm: float = 0.0
    memory: int = 0  # bytes in use: GPU memory, or the process's on a CPU


@dataclass(frozen=True)
class Sampled:
    """A sample picture was written. `path` is relative to the job folder; `index` is the prompt's line."""

    step: int
    index: int
    prompt: str
    path: str
    seed: int = 0
    near: float = -1.0
    """How near it lies to a training picture (trainer.judge.copying.Gallery.nearness); -1: not looked at."""


@dataclass(frozen=True)
class Saved:
    """A file was written under its final name. `kind`: "lora", "state" or "safety"."""

    step: int
    epoch: int
    path: str
    size: int
    kind: str = "lora"
    final: bool = False


@dataclass(frozen=True)
class Judged:
    """The run was judged after a step, as trainer.judge.verdict.Point says."""

    step: int
    epoch: int
    held_out: Sequence[float]
    learned: Sequence[float]
    drift: float


@dataclass(frozen=True)
class Removed:
    """A file of this run was removed, as "Save last N …" asks."""

    path: str


@dataclass(frozen=True)
class Notice:
    """Something worth knowing; `code` and `values` as in trainer.messages."""

    code: str
    values: Mapping[str, Any] = field(default_factory=dict)
    level: Level = "info"


@dataclass(frozen=True)
class Failed:
    """The run ended on an error. `trace` is set where it is our bug."""

    code: str
    values: Mapping[str, Any] = field(default_factory=dict)
    setting: str = ""
    trace: str = ""


@dataclass(frozen=True)
class Stopped:
    """The person stopped or `paused` it; `path` is the LoRA file saved ("" where nothing was learned yet)."""

    step: int
    path: str = ""
    paused: bool = False


@dataclass(frozen=True)
class Finished:
    """All steps done; `path` is the final LoRA file."""

    step: int
    path: str


Event = Started | Phase | Step | Sampled | Saved | Judged | Removed | Notice | Failed | Stopped | Finished
EVENT_KINDS: dict[str, type] = {
    kind.__name__.lower(): kind
    for kind in (Started, Phase, Step, Sampled, Saved, Judged, Removed, Notice, Failed, Stopped, Finished)
}


MOST_WAITING = 50_000_000
"""Bytes of events kept in memory while the disk is full; a night's worth."""


def steady() -> float:
    """Seconds that pass evenly, whatever becomes of the clock, also while it sleeps (Linux, Windows)."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class EventLog:
    """Appends events to a file. One per process; only the main process of a run has one.

    The clock is asked once: between two events of a process lie the seconds that passed, however the clock is
    set meanwhile. `now`: the time of the first event instead.

    A full disk ends no run: what cannot be written waits, and is written as soon as there is room.
    """

    def __init__(self, path: Path, now: float | None = None) -> None:
        self.path = path
        self._offset = (time.time() if now is None else now) - steady()
        self._file = path.open("ab+", buffering=0)
        self._waiting = bytearray()
        if self._is_torn():  # the process before was killed in the middle of a line
            self._waiting += b"\n"

    def _is_torn(self) -> bool:
        size = self._file.seek(0, os.SEEK_END)
        if not size:
            return False
        self._file.seek(size - 1)
        return self._file.read(1) != b"\n"

    @property
    def waiting(self) -> int:
        """Bytes that could not be written yet."""
        return len(self._waiting)

    def emit(self, event: Event) -> None:
        """Append one line: {"event": kind, "time": unix seconds, …}, whole where the disk takes it whole."""
        line = {
            "event": type(event).__name__.lower(),
            "time": round(self._offset + steady(), 3),
            **_finite(asdict(event)),
        }
        text = json.dumps(line, ensure_ascii=False, allow_nan=False).encode(errors="replace")
        if len(self._waiting) < MOST_WAITING:
            self._waiting += text + b"\n"
        self._write()

    def _write(self) -> None:
        with suppress(OSError):
            while self._waiting and (written := self._file.write(self._waiting)):
                del self._waiting[:written]

    def close(self) -> None:
        """Flush to disk and close."""
        self._write()
        with suppress(OSError):
            os.fsync(self._file.fileno())
        self._file.close()


def _finite(value: Any) -> Any:
    """NaN and infinity are no JSON: write them as text."""
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def parse(line: bytes | str) -> tuple[float, Event] | None:
    """Time and event of one line; None for a line that is none (newer version, damage)."""
    try:
        data = json.loads(line)
        kind = EVENT_KINDS[data.pop("event")]
        moment = float(data.pop("time"))
        known = {field.name for field in fields(kind)}
        return moment, kind(**{key: value for key, value in data.items() if key in known})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def read_events(path: Path, offset: int = 0) -> Iterator[tuple[int, float, Event]]:
    """Events after byte `offset`: (offset behind the line, time, event). Takes whole lines only."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            if (parsed := parse(line)) is not None:
                yield offset, *parsed
