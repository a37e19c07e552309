"""Jobs: one folder each, and the folder is the whole truth.

A job's state is computed from its last event and from whether its process lives; nothing is kept in
memory that another start of this program, or a second one on the same workspace, would miss.

    queued → running → finished | stopped | failed | lost
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from app.jobs import process
from app.jobs.ready import ReadyTrainer
from app.jobs.record import ENDS, JobRecord
from trainer.errors import UserError
from trainer.events import Event, EventLog, Failed, Saved, Step, Stopped, parse
from trainer.files.identity import Identity
from trainer.files.job_folder import PROJECT, TRAIN, WISHES, JobFolder, Wish, find_state
from trainer.files.roots import Roots, is_link
from trainer.schema import Form
from trainer.tools.table import TOOLS
from trainer.tools.tool import Tool

State = Literal["queued", "running", "finished", "stopped", "failed", "lost"]
TRAINER = (sys.executable, "-m", "trainer")
ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
TAIL = 64 << 10
KEPT_STATES = 3
"""Finished jobs that keep the state in which they ended."""
GONE = ".removed-"
"""Before the name of a job's folder that is being removed."""


@dataclass(frozen=True)
class Job:
    """One run and its folder."""

    folder: JobFolder
    store: JobStore

    @property
    def id(self) -> str:
        """The folder's name; sorts by time of creation."""
        return self.folder.path.name

    @property
    def queue_file(self) -> Path:
        """Exists while the job waits: {"place", "verb"}."""
        return self.folder.path / "queue.json"

    @property
    def begun_file(self) -> Path:
        """{"events"}: size of events.jsonl when the job was last begun."""
        return self.folder.path / "begun.json"

    @property
    def exit_file(self) -> Path:
        """{"code"}: how the process ended, where someone was there to see it."""
        return self.folder.path / "exit.json"

    @property
    def state(self) -> State:
        """Computed now, from the folder and the list of processes."""
        identity = self.identity()
        alive = identity is not None and identity.alive()
        if alive and not self._ended():
            return "running"
        if self.queue_file.exists():
            return "queued"
        last = self.last_event()
        if last is None or not isinstance(last[1], ENDS):
            return "running" if self.folder.is_held() else "lost"
        return {"Finished": "finished", "Stopped": "stopped", "Failed": "failed"}[type(last[1]).__name__]  # pyright: ignore[reportReturnType]  # the three ENDS

    def _ended(self) -> bool:
        """Whether the last word is an end, spoken since the job was last begun."""
        last = self.last_event()
        try:
            size = self.folder.events_file.stat().st_size
        except OSError:
            return False
        return last is not None and isinstance(last[1], ENDS) and self._told_by(size)

    def _told_by(self, size: int) -> bool:
        """Whether the process that was begun last has a word in the first `size` bytes of the events."""
        begun = _read_json(self.begun_file)
        return size > (begun.get("events", 0) if isinstance(begun, dict) else 0)

    def is_told_of(self, record: JobRecord) -> bool:
        """Whether the record has a word of the process that was begun last, not only of those before it."""
        return record.end is None and self._told_by(record.offset)

    @property
    def stopping(self) -> bool:
        """Whether Stop was pressed and the process has not come to an end yet."""
        return self.folder.stop_requested() and self.state == "running"

    def identity(self) -> Identity | None:
        """The process that works, or has worked, on this job."""
        return Identity.from_json(_read_json(self.folder.process_file))

    def exit_code(self) -> int | None:
        """How the process ended, where known; negative: the signal that ended it."""
        data = _read_json(self.exit_file)
        return data.get("code") if isinstance(data, dict) and isinstance(data.get("code"), int) else None

    def last_event(self) -> tuple[float, Any] | None:
        """(time, event) of the last whole line of events.jsonl."""
        for line in reversed(_last_lines(self.folder.events_file)):
            if (parsed := parse(line)) is not None:
                return parsed
        return None

    def last_step(self) -> int:
        """The last step in the last part of the events; 0 where there is none."""
        for line in reversed(_last_lines(self.folder.events_file)):
            if (parsed := parse(line)) and isinstance(parsed[1], (Step, Saved, Stopped)):
                return parsed[1].step
        return 0

    def record(self) -> JobRecord:
        """What the job has written, up to now."""
        return self.store.record(self)

    def settings(self) -> dict[str, Any]:
        """The run's settings, flat; {} where they cannot be read."""
        data = _read_json(self.folder.settings_file)
        return data if isinstance(data, dict) else {}

    @property
    def kind(self) -> str:
        """ "train", or the tool's name."""
        return self.folder.told()["kind"]

    @property
    def tool(self) -> Tool | None:
        """The tool whose job it is; None where it trains (or is of a tool that is not known here)."""
        return TOOLS.get(self.kind)

    @property
    def light(self) -> bool:
        """Whether it runs beside what is at work instead of waiting in line."""
        return self.tool is not None and self.tool.light

    @property
    def name(self) -> str:
        """The "Model output name", or what a tool makes."""
        return self.folder.told()["name"] or str(self.settings().get("output_name") or self.id)

    @property
    def created(self) -> float:
        """Unix seconds."""
        try:
            return time.mktime(time.strptime(self.id[:15], "%Y%m%d-%H%M%S"))
        except ValueError:
            return self.folder.path.stat().st_mtime

    def can_continue(self) -> bool:
        """Whether there is something to go on from."""
        kept = self.tool.resumes if self.tool else bool(find_state(self.folder.safety_state))
        return kept and self.state in ("stopped", "failed", "lost")

    def can_extend(self) -> bool:
        """Whether it is finished and could go on from its end."""
        return self.state == "finished" and bool(find_state(self.folder.safety_state))

    @property
    def paused(self) -> bool:
        """Whether it was Pause that ended it."""
        last = self.last_event() if self.state == "stopped" else None
        return last is not None and isinstance(last[1], Stopped) and last[1].paused

    def wish(self, wish: Wish) -> None:
        """Ask the trainer to save, or to draw samples, after its step."""
        if self.state == "running":
            self.folder.wish_file(wish).touch()

    def stop(self, *, pause: bool = False) -> None:
        """Ask the trainer to finish its step, save and end; take a waiting job out of the line.

        `pause`: the same, and the run is said to be paused.
        """
        with self.store.lock():
            if self.state == "queued":
                self.queue_file.unlink(missing_ok=True)
                self._write_end(Stopped(self.last_step()))
                return
        if self.state == "running":
            self.folder.request_stop(pause=pause)

    def kill(self) -> None:
        """End the trainer's process now; what was saved stays."""
        identity = self.identity()
        if self.state != "running" or identity is None:
            self.stop()
            return
        if not self.folder.stop_requested():
            self.folder.request_stop()
        process.end(identity)
        if self.state == "lost":
            files = self.record().lora_files()
            self._write_end(Stopped(self.record().step, files[-1].path if files else ""))

    def _write_end(self, event: Stopped | Failed) -> None:
        """Say the last word for a process that cannot any more, right behind its own: then its work ended."""
        path = self.folder.events_file
        torn = path.exists() and path.stat().st_size and not _last_bytes(path, 1).endswith(b"\n")
        if torn:
            with path.open("ab") as file:
                file.write(b"\n")
        last = self.last_event()
        log = EventLog(path, now=last[0] if last else None)
        log.emit(event)
        log.close()


class JobStore:
    """All jobs of a workspace. `roots`: the folders that the page, and what it starts, may use."""

    def __init__(self, workspace: Path, trainer: Sequence[str] = TRAINER, roots: Roots | None = None) -> None:
        self.workspace = workspace.expanduser().resolve()
        self.roots = roots
        self.trainer = tuple(trainer)
        self.root = self.workspace / "jobs"
        self.root.mkdir(parents=True, exist_ok=True)
        self.wait_file = self.workspace / ".queue_waits"
        """Exists while the line waits."""
        self.making_room: list[Callable[[], None]] = []
        """Called before a run begins: what else uses the graphics card ends."""
        self._records: dict[str, JobRecord] = {}
        self._reading = threading.RLock()
        self._done = threading.Event()
        self._ready = ReadyTrainer(self.trainer)
        self._tended = False
        for leftover in self.root.glob(f"{GONE}*"):
            _clear(leftover)

    def environment(self) -> dict[str, str]:
        """What a trainer's process gets: also the folders that it has to keep to."""
        return {**ENVIRONMENT, **(self.roots.environment() if self.roots else {})}

    def may_use(self, path: Path) -> bool:
        """Whether the page may look at what a job names: with --listen only in the allowed folders."""
        if self.roots is None or not self.roots.strict:
            return True
        return self.roots.place(path) is not None

    def lock(self) -> FileLock:
        """Held while jobs are started or put in line; other starts of this program wait for it."""
        self.root.mkdir(parents=True, exist_ok=True)
        return FileLock(self.workspace / ".jobs.lock", timeout=30)

    def jobs(self) -> list[Job]:
        """All jobs, newest first; none where someone has removed their folder."""
        try:
            with os.scandir(self.root) as entries:
                names = [entry.name for entry in entries if self._is_a_job(entry)]
        except FileNotFoundError:
            return []
        found = [Job(JobFolder(self.root / name), self) for name in sorted(names, reverse=True)]
        return [job for job in found if job.folder.settings_file.exists()]

    def _is_a_job(self, entry: os.DirEntry[str]) -> bool:
        """A folder that is not hidden; a link only where it may be followed."""
        seen = entry.is_dir() and not entry.name.startswith(".")
        return seen and (not is_link(entry) or self.may_use(Path(entry.path)))

    def get(self, job_id: str) -> Job | None:
        """The job of this id; None for anything that is no job's folder here."""
        return next((job for job in self.jobs() if job.id == job_id), None)

    def at_work(self) -> list[Job]:
        """The jobs at work, newest first: one at most that the others wait for, and light ones beside it."""
        begun = (job for job in self.jobs() if job.folder.process_file.exists())
        return [job for job in begun if job.state == "running"]

    def running(self) -> Job | None:
        """The job at work that the others wait for."""
        return next((job for job in self.at_work() if not job.light), None)

    def current(self) -> Job | None:
        """The job to look at: the one at work, else the one that was last at work, else the newest."""
        if at_work := self.at_work():
            return next((job for job in at_work if not job.light), at_work[0])
        worked = [job for job in self.jobs() if job.folder.events_file.exists() and job.state != "queued"]
        if worked:
            return max(worked, key=lambda job: job.folder.events_file.stat().st_mtime)
        return next(iter(self.jobs()), None)

    def queue(self) -> list[Job]:
        """Jobs that wait, first in line first."""
        waiting = [job for job in self.jobs() if job.queue_file.exists()]
        return sorted(waiting, key=lambda job: (_place(job), job.id))

    def start(self, settings: Form, kind: str = TRAIN, name: str = "", *, twice: bool = True) -> Job:
        """Put a new job in line; it begins at once if nothing runs or it is light. Raises UserError, OSError.

        `kind`: "train", or the tool whose form `settings` is; `name`: what a tool's job is called. `twice`
        False: not where a job with the same settings runs or waits already (page.same_…).
        """
        with self.lock():
            if not twice and (same := self.same(settings, kind)):
                raise UserError(f"page.same_{same.state}", name=same.name)
            job = Job(JobFolder.create(self.workspace, settings, kind, name), self)
            self._put_in_line(job, "job")
        self.tend()
        return job

    def same(self, settings: Form, kind: str = TRAIN) -> Job | None:
        """The job that runs or waits with the same settings."""
        flat = json.loads(json.dumps(settings.flat()))
        at_work = [*self.at_work(), *self.queue()]
        return next((job for job in at_work if (job.kind, job.settings()) == (kind, flat)), None)

    def waits(self) -> bool:
        """Whether the line waits until the person says go on: Stop was pressed while others were in it."""
        return self.wait_file.exists() and bool(self.queue())

    def wait(self) -> None:
        """Begin no other waiting job until `go_on`."""
        if self.queue():
            self.wait_file.touch()

    def go_on(self) -> None:
        """Begin the waiting jobs again."""
        self.wait_file.unlink(missing_ok=True)
        self.tend()

    def resume(self, job: Job, changes: Mapping[str, Any] | None = None) -> None:
        """Put a stopped, failed or lost job in line again, to continue from its own state.

        `changes` of its settings count from here on.
        """
        with self.lock():
            if job.state in ("stopped", "failed", "lost"):
                if changes and job.kind == TRAIN:
                    job.folder.write_settings(job.folder.settings().replace(**changes))
                self._put_in_line(job, "resume")
        self.tend()

    def extend(self, job: Job, changes: Mapping[str, Any], events: Sequence[Event]) -> None:
        """Put a finished job in line again with more to do. `events` say so: it is complete no more."""
        with self.lock():
            if job.can_extend():
                job.folder.write_settings(job.folder.settings().replace(**changes))
                log = job.folder.event_log()
                for event in events:
                    log.emit(event)
                log.close()
                self._put_in_line(job, "resume")
        self.tend()

    def _forget_old_states(self) -> None:
        """The newest KEPT_STATES finished jobs can be extended; a state is large."""
        ended = [job for job in self.jobs() if job.can_extend()]
        for job in ended[KEPT_STATES:]:
            job.folder.forget_state()

    def remove(self, job: Job) -> None:
        """Remove an ended job's folder: it is gone at once, or not at all. Raises OSError."""
        with self.lock():
            if job.state in ("running", "queued") or job.folder.path.parent != self.root:
                return
            gone = self.root / f"{GONE}{job.id}"
            job.folder.path.rename(gone)
        self._records.pop(job.id, None)
        _clear(gone)

    def _put_in_line(self, job: Job, verb: str) -> None:
        """At the end; where the line waits and nothing runs, what a person starts now begins by itself.

        So does what is light.
        """
        alone = job.light or (self.waits() and not self.running())
        self._enqueue(job, verb)
        if alone:
            self._begin(job)

    def _enqueue(self, job: Job, verb: str) -> None:
        place = max((_place(other) for other in self.queue()), default=0) + 1
        job.folder.write_json(job.queue_file, {"place": place, "verb": verb})

    def move(self, job_id: str, by: int) -> None:
        """Move a waiting job up (-1) or down (1) the line."""
        with self.lock():
            line = self.queue()
            here = next((place for place, job in enumerate(line) if job.id == job_id), None)
            if here is None:
                return
            line.insert(max(0, here + by), line.pop(here))
            for place, job in enumerate(line, 1):
                data = _read_json(job.queue_file)
                job.folder.write_json(
                    job.queue_file, {**(data if isinstance(data, dict) else {}), "place": place}
                )

    def tend(self) -> Job | None:
        """Begin the first waiting job if nothing runs. Called every few seconds while the page is up."""
        if not self.queue():
            self.wait_file.unlink(missing_ok=True)
            return None
        with self.lock():
            if self.wait_file.exists() or self.running() or not (line := self.queue()):
                return None
            self._begin(line[0])
            return line[0]

    def _begin(self, job: Job) -> None:
        """Start the trainer. Until it is up, our own process stands for it, so the job is never seen lost."""
        for make_room in () if job.light else self.making_room:
            make_room()
        self._forget_old_states()
        data = _read_json(job.queue_file)
        verb = "resume" if isinstance(data, dict) and data.get("verb") == "resume" else "job"
        wishes = [job.folder.wish_file(wish) for wish in WISHES]
        for leftover in (job.folder.stop_file, job.exit_file, *wishes):
            leftover.unlink(missing_ok=True)
        events = job.folder.events_file
        job.folder.write_json(job.begun_file, {"events": events.stat().st_size if events.exists() else 0})
        job.folder.write_json(job.folder.process_file, Identity.own().as_json())
        job.queue_file.unlink(missing_ok=True)

        def ended(code: int) -> None:
            with suppress(OSError):  # a full disk, or the folder is gone: the job is then seen as lost
                if job.folder.path.exists():
                    job.folder.write_json(job.exit_file, {"code": code})

        try:
            identity = self._process_for(job, verb, ended)
        except OSError as error:
            job.folder.process_file.unlink(missing_ok=True)
            job._write_end(Failed("training.bug", {"error": str(error)}))  # noqa: SLF001  # same module
            return
        job.folder.write_json(job.folder.process_file, identity.as_json())

    def _process_for(self, job: Job, verb: str, ended: Callable[[int], None]) -> Identity:
        """The trainer that waits, else a new one. Raises OSError."""
        if taken := self._ready.take(job.folder, verb, self.environment()):
            return process.watched(taken, ended)
        return process.start_process(
            [*self.trainer, verb, str(job.folder.path)],
            folder=PROJECT,
            log=job.folder.log_file,
            environment=self.environment(),
            ended=ended,
        )

    def expect_run(self) -> None:
        """A person could press Train: while the page is up and nothing runs, have a trainer ready for it."""
        if self._tended and not self.running():
            self._ready.expect(self.environment())

    def tend_forever(self, every: float = 2.0) -> threading.Thread:
        """Begin waiting jobs from a thread until `close`."""

        def loop() -> None:
            while not self._done.wait(every):
                try:
                    self.tend()
                except (OSError, UserError) as error:  # noqa: PERF203  # e.g. the disk is away for a moment
                    print(f"queue: {error}", file=sys.stderr)

        self._tended = True
        thread = threading.Thread(target=loop, name="queue", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """Stop beginning jobs; those at work go on. What draws on trial ends."""
        self._done.set()
        self._ready.let_go()
        for make_room in self.making_room:
            make_room()
        self._forget_old_states()

    def record(self, job: Job) -> JobRecord:
        """The job's record, brought up to date."""
        with self._reading:
            record = self._records.setdefault(job.id, JobRecord(job.folder.events_file))
            record.read()
            while len(self._records) > 8:
                self._records.pop(next(key for key in self._records if key != job.id))
            return record


def _clear(folder: Path) -> None:
    """Remove a folder with all below; a link is removed, not what it leads to. What resists is left."""
    if folder.is_symlink():
        folder.unlink(missing_ok=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _place(job: Job) -> float:
    data = _read_json(job.queue_file)
    place = data.get("place") if isinstance(data, dict) else None
    return place if isinstance(place, (int, float)) else 0


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _last_bytes(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - count))
            return file.read(count)
    except OSError:
        return b""


def _last_lines(path: Path) -> list[bytes]:
    """The last whole lines of a file: those in its last 64 KiB, or the last one however long it is."""
    tail = TAIL
    while True:
        data = _last_bytes(path, tail)
        whole = data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]
        if len(data) < tail:
            return whole
        if len(whole) > 1:
            return whole[1:]  # the first is cut
        tail *= 16
