"""Runs one job: from its folder to its last event, whatever happens in between."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import psutil

from trainer import console, preflight
from trainer.errors import StopRequested, UserError
from trainer.events import Event, EventLog, Failed, Finished, Phase, Saved, Started, Stopped, read_events
from trainer.job_folder import JobFolder
from trainer.places import cleaned
from trainer.quiet import quiet_libraries
from trainer.redact import redacted, secret_values
from trainer.settings import Settings
from trainer.stopping import EarlyStop

DONE, BUG, USER, STOPPED = 0, 1, 2, 3
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""How torch says so, on a graphics card and on the CPU."""


@dataclass
class Teller:
    """Tells the job folder and the terminal what happens, nothing secret in it."""

    log: EventLog
    listen: console.Listener
    lock: Any
    secrets: tuple[str, ...]

    def __call__(self, event: Event) -> None:
        with self.lock:
            self._tell(event)

    def _tell(self, event: Event) -> None:
        clean = redacted(event, self.secrets)
        self.log.emit(clean)
        self.listen(clean)

    def last(self, event: Event) -> None:
        """Say the last word. Where the disk does not take it, it goes to the terminal."""
        with self.lock:
            self._tell(event)
            self.log.close()
            if self.log.waiting:
                print(f"{self.log.path}: the disk is full; the last lines are missing", file=sys.stderr)


def run_job(folder: JobFolder, *, resume: bool = False, own_process: bool = False) -> int:
    """Train the job in this folder; returns the exit code. Every end is an event in the folder.

    `resume` continues from the job's own state; from the beginning where it has none yet. `own_process`:
    this process does nothing else, so Stop before the first step may end it at once.
    """
    try:
        me = psutil.Process()
        folder.write_json(folder.process_file, {"pid": me.pid, "started": me.create_time()})
        emit = Teller(folder.event_log(), console.listener(), Lock(), secret_values())
    except OSError as error:
        failed, code = _explain(error)
        print(console.in_words(failed), file=sys.stderr)
        return code
    early = EarlyStop(folder.stop_requested, lambda: _leave(folder, emit))
    if own_process:
        early.watch()
    try:
        last, code = _train(folder, emit, resume, early)
    except (StopRequested, KeyboardInterrupt):
        last, code = _stopped_early(folder), STOPPED
    except UserError as error:
        last, code = Failed(error.message.code, error.message.values, error.setting), USER
    except Exception as error:  # noqa: BLE001  # the last line of defence: the page must learn of every end
        last, code = _explain(error)
    early.over()
    emit.last(last)
    return code


def _leave(folder: JobFolder, emit: Teller) -> None:
    """Stop was pressed before the first step, in the middle of something long: nothing is lost by leaving."""
    emit.last(_stopped_early(folder))
    os._exit(STOPPED)


def _stopped_early(folder: JobFolder) -> Stopped:
    """Where the run stands if what was learned last is not kept: where it was saved, or at its beginning."""
    files = [event for _, _, event in read_events(folder.events_file) if isinstance(event, Saved)]
    if not files:
        return Stopped(0)
    loras = [file.path for file in files if file.kind == "lora"]
    return Stopped(max(file.step for file in files), loras[-1] if loras else "")


def _train(folder: JobFolder, emit: Teller, resume: bool, early: EarlyStop) -> tuple[Event, int]:
    """Check, build, train. Heavy imports come after the checks, so that mistakes are told at once."""
    emit(Phase("start"))
    settings = cleaned(folder.settings())
    checked = preflight.check(settings)
    for problem in checked.problems:
        if problem.blocks:
            raise UserError(problem.code, problem.setting, **problem.values)
    quiet_libraries()
    from trainer.device import device_name
    from trainer.memory import bytes_there
    from trainer.parts import build_parts
    from trainer.tracking import build_tracking
    from trainer.train import train

    parts = build_parts(settings, folder, emit, _state_to_resume(folder, settings, resume), again=resume)
    plan = parts.plan
    emit(
        Started(
            plan.total_steps,
            plan.epochs,
            parts.seed,
            device_name(parts.device),
            plan.as_json(),
            parts.start.step,
            bytes_there(parts.device),
        )
    )
    tracking = build_tracking(settings, emit)
    early.over()
    ended = train(parts, tracking.follow(emit), folder.stop_requested)
    tracking.finish()
    if ended.stopped:
        return Stopped(ended.position.step, str(ended.path)), STOPPED
    return Finished(ended.position.step, str(ended.path)), DONE


def _state_to_resume(folder: JobFolder, settings: Settings, resume: bool) -> Path | None:
    """The state to start from: the job's own, or that of "Resume from saved training state"."""
    from trainer.state import find_state

    if resume and (own := find_state(folder.safety_state)):
        return own
    if settings.saving.resume:
        return find_state(Path(settings.saving.resume)) or Path(settings.saving.resume)
    return None


def _explain(error: Exception) -> tuple[Failed, int]:
    """The known ways to fail, in words; anything else is our bug and keeps its traceback."""
    trace = "".join(traceback.format_exception(error))
    if isinstance(error, OSError) and (found := _disk_trouble(error)):
        return found, USER
    if isinstance(error, MemoryError) or any(words in str(error).lower() for words in NO_MEMORY):
        return Failed("training.out_of_memory", {}, "train_batch_size", trace), USER
    return Failed("training.bug", {"error": f"{type(error).__name__}: {error}"}, trace=trace), BUG


def _disk_trouble(error: OSError) -> Failed | None:
    """What a disk answered, in words; None for an OSError about no file."""
    values = {"path": str(error.filename or ""), "reason": error.strerror or str(error)}
    if error.errno in FULL:
        return Failed("training.disk_full", values, "output_dir")
    if isinstance(error, PermissionError) or error.errno in CLOSED:
        return Failed("training.no_permission", values, "output_dir")
    return Failed("training.file_error", values, "output_dir") if error.filename else None
