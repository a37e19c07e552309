"""The folder of one job: everything there is to know about a run stands in it."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from trainer.errors import UserError
from trainer.events import EventLog, Finished, Phase, Removed, Saved, Started, read_events, steady
from trainer.files.identity import Identity, boot_id
from trainer.files.own_files import OwnFiles
from trainer.files.paths import is_plain_name
from trainer.files.state_folder import LARGEST_SEED, read_about
from trainer.files.whole_file import write_whole
from trainer.schema import Form, Schema, Values
from trainer.settings import TRAINING, Settings

PROJECT = Path(__file__).resolve().parents[2]
TRAIN = "train"
"""The kind of a job that trains; a tool's job has the tool's name."""
PATIENCE = 10.0
"""Seconds to wait for a process that is about to end; readers of pictures outlive a killed one by five."""
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
"""What a disk answers that knows no locks (some network drives)."""
Wish = Literal["save", "sample"]
WISHES: tuple[Wish, ...] = ("save", "sample")


def default_workspace() -> Path:
    """Where jobs live: $LORA_ATELIER_WORKSPACE, else `workspace` beside the program."""
    return Path(os.environ.get("LORA_ATELIER_WORKSPACE") or PROJECT / "workspace").expanduser().resolve()


def find_state(place: Path) -> Path | None:
    """The state folder at `place`, or the older one if a crash came in the middle of replacing it."""
    return next((folder for folder in state_places(place) if (folder / "state.json").is_file()), None)


def state_places(place: Path) -> tuple[Path, Path]:
    """Where a training state may stand that belongs at `place`: there, or moved aside for the next one."""
    name = place.absolute().name  # "/" and a drive have none, and hold no state
    return place, place.absolute().with_name(f".{name}.old") if name else place


@dataclass(frozen=True)
class Begun:
    """How a job was begun: what it keeps when it is continued."""

    seed: int
    name: str
    """The LoRA's, without ending."""
    first_step: int = 0
    """Not 0 where it began in another run's training state."""


@dataclass(frozen=True)
class JobFolder:
    """Names inside a job's folder, and how its small files are read and written."""

    path: Path

    @classmethod
    def create(cls, workspace: Path, settings: Form, kind: str = TRAIN, name: str = "") -> JobFolder:
        """Make a new folder below <workspace>/jobs, named by time and `name` (else the output name)."""
        own_name = name or str(settings.flat().get("output_name") or "")
        name = re.sub(r"[^\w.-]+", "_", own_name)[:60] or "lora"
        stamp = time.strftime("%Y%m%d-%H%M%S")
        for attempt in range(1000):
            path = workspace / "jobs" / (f"{stamp}-{name}" + (f"-{attempt + 1}" if attempt else ""))
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            folder = cls(path)
            folder.write_json(folder.kind_file, {"kind": kind, "name": own_name})
            folder.write_settings(settings)
            return folder
        raise UserError("training.no_job_folder", path=str(workspace))

    def begin(self, settings: Form) -> None:
        """Make this very folder a new job. Raises UserError where anything else stands in it, or OSError."""
        if self.is_held():
            raise UserError("training.job_busy")
        if self.path.exists() and not (self.path.is_dir() and self._is_unused()):
            raise UserError("training.job_folder_taken", path=str(self.path))
        self.path.mkdir(parents=True, exist_ok=True)
        self.write_settings(settings)

    def _is_unused(self) -> bool:
        """Whether it is empty, or holds only what a job has that was refused before its first step."""
        there = {path for path in self.path.iterdir() if path != self.lock_file}
        refused = {self.settings_file, self.events_file, self.process_file}
        started = any(isinstance(event, Started) for _, _, event in read_events(self.events_file))
        return not there or (there == refused and not started)

    @property
    def kind_file(self) -> Path:
        """What the job is: {"kind": "train" or a tool's name, "name"}. Absent in jobs of earlier versions."""
        return self.path / "job.json"

    def told(self) -> dict[str, str]:
        """What job.json says, and what its absence means."""
        try:
            data = json.loads(self.kind_file.read_text(encoding="utf-8"))
            return {"kind": str(data["kind"]), "name": str(data.get("name") or "")}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {"kind": TRAIN, "name": ""}

    @property
    def settings_file(self) -> Path:
        """Complete settings of the run, flat, under kohya_ss's keys."""
        return self.path / "settings.json"

    @property
    def events_file(self) -> Path:
        """One event per line (trainer.events)."""
        return self.path / "events.jsonl"

    @property
    def log_file(self) -> Path:
        """What the trainer's process printed."""
        return self.path / "log.txt"

    @property
    def process_file(self) -> Path:
        """Which process works on this job: trainer.files.identity."""
        return self.path / "process.json"

    @property
    def lock_file(self) -> Path:
        """Locked by the process that works on this job."""
        return self.path / "lock"

    @property
    def samples(self) -> Path:
        """Folder of sample pictures."""
        return self.path / "samples"

    @property
    def safety_state(self) -> Path:
        """The rolling state from which an interrupted run continues."""
        return self.path / "state"

    @property
    def stop_file(self) -> Path:
        """Exists when the person has pressed Stop."""
        return self.path / "stop"

    def stop_requested(self) -> bool:
        """Whether Stop or Pause was pressed."""
        return self.stop_file.exists()

    def begun(self) -> Begun | None:
        """How this job was begun, by its events or else by its own state; None for one that never was.

        Raises UserError for a state that is damaged.
        """
        starts = [event for _, _, event in read_events(self.events_file) if isinstance(event, Started)]
        if starts and (content := _as_told(starts[0], starts[-1])):
            return content
        state = find_state(self.safety_state)
        about = read_about(state) if state else None
        return Begun(about.seed, about.name) if about and about.name else None

    def forget_state(self) -> None:
        """Remove the rolling state: the run is complete, and will not be extended."""
        for folder in state_places(self.safety_state):
            shutil.rmtree(folder, ignore_errors=True)

    def end(self) -> Finished | None:
        """The last word of a job that is complete; None for any other."""
        last = None
        for _, _, event in read_events(self.events_file):
            last = event
        return last if isinstance(last, Finished) else None

    def forget_old_stop(self) -> None:
        """Take away the Stop of an earlier process; one pressed since it said its last word stays.

        By how much had been told when it was pressed; only of a Stop that does not say it, by the clock.
        """
        try:
            if isinstance(told := self._stop().get("events"), int):
                if told < self.events_file.stat().st_size:
                    self.stop_file.unlink()
                return
            # The last word may come in the same tick of the system's clock as the Stop that it answers.
            if self.stop_file.stat().st_mtime_ns <= self.events_file.stat().st_mtime_ns:
                self.stop_file.unlink()
        except OSError:  # there is none
            return

    def own_files(self) -> OwnFiles:
        """What earlier processes of this job have written, or were writing when they ended."""
        own = OwnFiles()
        for _, _, event in read_events(self.events_file):
            if isinstance(event, (Saved, Phase)) and event.path:
                own.add(Path(str(event.path)))
            elif isinstance(event, Removed):
                own.discard(Path(str(event.path)))
        return own

    def request_stop(self, *, pause: bool = False) -> None:
        """Press Stop, or Pause: the same to the trainer, but the run is then said to be paused."""
        told = self.events_file.stat().st_size if self.events_file.exists() else 0
        about = {"pause": pause, "boot": boot_id(), "steady": steady(), "events": told}
        try:
            write_whole(self.stop_file, json.dumps(about).encode())
        except OSError:  # on a full disk an empty file may still find its place
            self.stop_file.touch()

    def pause_requested(self) -> bool:
        """Whether it was Pause."""
        return self._stop().get("pause") is True

    def stopping_for(self) -> float:
        """Seconds since Stop was pressed, by whatever process; 0 where it was not.

        By the seconds since the machine's start, which no change of the clock moves; only of a Stop that says
        nothing of them (a file that somebody made), by the clock.
        """
        about = self._stop()
        try:
            if about.get("boot") == boot_id() and isinstance(pressed := about.get("steady"), (int, float)):
                return max(0.0, steady() - pressed)
            return max(0.0, time.time() - self.stop_file.stat().st_mtime)
        except OSError:
            return 0.0

    def _stop(self) -> dict[str, Any]:
        """What the file `stop` says of itself; {} for one that is empty, torn or not there."""
        try:
            about = json.loads(self.stop_file.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return about if isinstance(about, dict) else {}

    def wish_file(self, wish: Wish) -> Path:
        """Exists from the press of "Save now" or "Sample now" until the trainer has seen it."""
        return self.path / f"{wish}.now"

    def wished(self, wish: Wish) -> bool:
        """Whether it was wished; the trainer's to ask: it counts as seen then."""
        try:
            self.wish_file(wish).unlink()
        except OSError:
            return False
        return True

    def settings(self) -> Settings:
        """The run's settings. Raises UserError where the file is missing or is none."""
        return self.form(TRAINING)

    def form(self, schema: Schema[Values]) -> Values:
        """What the job was asked for. Raises UserError where the file is missing or is none."""
        try:
            return schema.read(json.loads(self.settings_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, RecursionError) as error:
            raise UserError("training.no_settings", path=str(self.settings_file)) from error

    def write_settings(self, settings: Form) -> None:
        """Write settings.json, complete and without secrets."""
        self.write_json(self.settings_file, settings.flat())

    def write_own_process(self) -> None:
        """Say that this process works on the job."""
        self.write_json(self.process_file, Identity.own().as_json())

    def hold(self, patience: float = PATIENCE) -> FileLock | None:
        """Take the job for this process: while it keeps the answer, no other can.

        The system lets go when this process ends, however it ends. None where the disk knows no locks.
        Raises UserError where another process has the job and keeps it for `patience` seconds, OSError where
        the folder cannot be written.
        """
        lock = FileLock(self.lock_file, timeout=patience)
        try:
            lock.acquire(poll_interval=0.2)
        except Timeout:
            raise UserError("training.job_busy") from None
        except NotImplementedError:
            return None
        except OSError as error:
            if error.errno in NO_LOCKS:
                return None
            raise
        return lock

    def is_held(self) -> bool:
        """Whether a process has the job."""
        if not self.lock_file.exists():
            return False
        try:
            lock = self.hold(0)
        except UserError:
            return True
        except OSError:
            return False
        if lock:
            lock.release()
        return False

    def write_json(self, path: Path, data: Any) -> None:
        """Write a small JSON file whole."""
        write_whole(path, json.dumps(data, ensure_ascii=False, indent=1).encode())

    def event_log(self) -> EventLog:
        """Open events.jsonl for appending."""
        return EventLog(self.events_file)


def _as_told(first: Started, last: Started) -> Begun | None:
    """Seed, name and first step of a run's first and last beginning; None where events say what none does."""
    final = last.plan.get("final_name") if isinstance(last.plan, dict) else None
    name = final.rpartition(".")[0] if isinstance(final, str) else ""
    whole = type(last.seed) is int and type(first.first_step) is int
    if not (whole and is_plain_name(name) and 0 <= last.seed <= LARGEST_SEED and first.first_step >= 0):
        return None
    return Begun(last.seed, name, first.first_step)
