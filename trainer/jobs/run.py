"""Runs one job: from its folder to its last event, whatever happens in between."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from trainer.distributed import processes
from trainer.errors import DISK_FULL, StopRequested, UserError, is_out_of_memory
from trainer.events import Event, EventLog, Failed, Finished, Phase, Saved, Started, Stopped, read_events
from trainer.files.job_folder import JobFolder, find_state
from trainer.files.redact import redacted, secret_values
from trainer.files.roots import Roots
from trainer.files.state_folder import read_about
from trainer.jobs import console
from trainer.jobs.libraries import import_libraries
from trainer.jobs.quiet import quiet_libraries
from trainer.jobs.stopping import EarlyStop
from trainer.jobs.waiting import machine_of
from trainer.kohya import additional
from trainer.kohya.launch_arguments import read_launch_arguments
from trainer.messages import printable
from trainer.plan.inputs import read_inputs
from trainer.preflight import check, places
from trainer.preflight import resume as resume_checks
from trainer.settings import Machine, Settings

DONE, BUG, USER, STOPPED = 0, 1, 2, 3
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass
class Teller:
    """Tells the job folder and the terminal what happens, nothing secret in it."""

    log: EventLog
    listen: console.Listener
    lock: Any
    secrets: tuple[str, ...]
    reports: bool = True
    """False in all but one of several processes."""

    def __call__(self, event: Event) -> None:
        with self.lock:
            self._tell(event)

    def _tell(self, event: Event) -> None:
        if self.reports:
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


def run_job(
    folder: JobFolder,
    *,
    resume: bool = False,
    own_process: bool = False,
    begun: Callable[[], None] = lambda: None,
) -> int:
    """Train the job in this folder; returns the exit code. Every end is an event in the folder.

    `resume` continues from the job's own state; from the beginning where it has none yet. `own_process`:
    this process does nothing else, so Stop before the first step may end it at once. `begun` is called when
    the job is ours: no other process trains it.
    """
    rank = processes.Rank.own()
    processes.hold_lifeline()
    alone = not processes.has_lifeline() and rank.number == 0
    try:
        lock = folder.hold() if alone else None
    except UserError as error:
        return refused(error)
    except OSError as error:
        return cannot_begin(error)
    try:
        if alone and resume and (end := folder.end()):
            if Path(str(end.path)).is_file():
                return refused(UserError("training.job_finished", path=str(end.path)))
            folder.forget_state()  # its file is gone: it is trained again
        if alone:
            folder.forget_old_stop()
        begun()
        return _run(folder, rank, resume=resume, own_process=own_process)
    finally:
        if lock:
            lock.release()


def _run(folder: JobFolder, rank: processes.Rank, *, resume: bool, own_process: bool) -> int:
    """The job, which is ours alone now."""
    if rank.count == 1 and (machine := machine_of(folder)):
        processes.choose_gpus(machine)
        if machine.num_processes > 1:
            return _run_together(folder, machine, resume)
    try:
        if not processes.has_lifeline() and rank.reports:
            folder.write_own_process()
        emit = Teller(folder.event_log(), console.listener(), Lock(), secret_values(), rank.reports)
    except OSError as error:
        return cannot_begin(error)
    early = EarlyStop(folder.stop_requested, lambda: _leave(folder, emit))
    if own_process:
        early.watch()
    try:
        last, code = _train(folder, emit, resume, early)
    except (StopRequested, KeyboardInterrupt):
        last, code = _stopped_early(folder), STOPPED
    except Exception as error:  # noqa: BLE001  # the last line of defence: the page must learn of every end
        last, code = explain(error)
        if last.code == "training.process_lost" and folder.stop_requested():
            last, code = _stopped_early(folder), STOPPED  # another process saw Stop first
    early.over()
    emit.last(last)
    return code


def refused(error: UserError) -> int:
    """It is being trained, or is complete: nothing in its folder is touched, only the terminal is told."""
    print(printable(str(error)), file=sys.stderr)
    return USER


def cannot_begin(error: OSError) -> int:
    """The job's folder cannot be written: only the terminal can be told."""
    failed, code = explain(error)
    print(printable(console.event_line(failed)), file=sys.stderr)
    return code


def _leave(folder: JobFolder, emit: Teller) -> None:
    """Stop was pressed before the first step, in the middle of something long: nothing is lost by leaving."""
    emit.last(_stopped_early(folder))
    os._exit(STOPPED)


def _stopped_early(folder: JobFolder) -> Stopped:
    """Where the run stands if what was learned last is not kept: where it was saved, or at its beginning."""
    files = [event for _, _, event in read_events(folder.events_file) if isinstance(event, Saved)]
    step = max((file.step for file in files), default=0)
    loras = [file.path for file in files if file.kind == "lora"]
    return Stopped(step, loras[-1] if loras else "", folder.pause_requested())


def _run_together(folder: JobFolder, machine: Machine, resume: bool) -> int:
    """Start the run's processes on this machine, wait for them, and say the last word where they cannot."""
    try:
        folder.write_own_process()
    except OSError as error:
        return cannot_begin(error)
    before = folder.events_file.stat().st_size if folder.events_file.exists() else 0
    launch = read_launch_arguments(machine)
    words = [sys.executable, "-m", "trainer", "resume" if resume else "job", str(folder.path.resolve())]
    codes = processes.run_together(words, processes.environments(machine, launch))
    events = [event for _, _, event in read_events(folder.events_file, before)]
    if events and isinstance(events[-1], (Failed, Finished, Stopped)):
        return codes[0] if codes[0] in {DONE, USER, STOPPED} else BUG
    tell = Teller(folder.event_log(), console.listener(), Lock(), secret_values())
    if folder.stop_requested():
        tell.last(_stopped_early(folder))
        return STOPPED
    tell.last(Failed("training.process_lost"))
    return BUG


def _train(folder: JobFolder, emit: Teller, resume: bool, early: EarlyStop) -> tuple[Event, int]:
    """Check, build, train. Heavy imports come after the checks, so that mistakes are told at once."""
    emit(Phase("start"))
    asked = folder.settings()
    roots = Roots.of_environment()
    own = find_state(folder.safety_state) if resume else None
    checked = check.check(asked, roots, continues=read_about(own) if own else None)
    settings = additional.applied(asked, places.may_read(roots))
    settings = settings.replace(num_processes=processes.Rank.own().count)
    _refuse(checked.problems)
    inputs = replace(checked.inputs or read_inputs(settings), settings=settings)
    state = own or _state_to_begin_in(folder, settings, checked)
    quiet_libraries()
    import_libraries()
    from trainer.jobs.tracking import Tracking, build_tracking
    from trainer.training.build import build_parts
    from trainer.training.loop import train
    from trainer.training.memory import bytes_there
    from trainer.training.precision import device_name, pick_device
    from trainer.training.trial import try_out
    from trainer.training.wishes import Wishes

    if checked.plan:
        try_out(settings.optimizer, checked.plan.total_steps, pick_device())
    parts = build_parts(inputs, folder, emit, state, again=resume)
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
    tracking = build_tracking(settings, folder.path, emit) if parts.exchange.is_main else Tracking([], emit)
    parts.exchange.total(0)  # all are ready: from here on Stop is agreed upon
    early.over()
    tell = tracking.follow(emit)
    parts = replace(parts, sampler=replace(parts.sampler, emit=tell))
    wishes = Wishes(folder, parts.saver, parts.sampler)
    ended = train(parts, tell, folder.stop_requested, wishes.fulfil)
    tracking.finish()
    parts.exchange.leave()
    if ended.stopped:
        return Stopped(ended.position.step, str(ended.path), folder.pause_requested()), STOPPED
    return Finished(ended.position.step, str(ended.path)), DONE


def _refuse(problems: Iterable[check.Problem]) -> None:
    """Raise UserError for the first problem that stops a run."""
    for problem in problems:
        if problem.blocks:
            raise UserError(problem.code, problem.setting, **problem.values)


def _state_to_begin_in(folder: JobFolder, settings: Settings, checked: check.Checked) -> Path | None:
    """The state of "Resume from …", if any. One of the hub can be looked at only when it is here."""
    if settings.saving.resume_from_huggingface:
        from trainer.files.hub import download_state

        state = download_state(settings.saving.resume_from_huggingface, folder.path / "downloaded")
        about = read_about(state)
        _refuse(resume_checks.differences(about, settings))
        _refuse(resume_checks.check_plan(about, checked.plan) if checked.plan else ())
        return state
    if settings.saving.resume:
        return find_state(Path(settings.saving.resume)) or Path(settings.saving.resume)
    return None


def explain(error: Exception) -> tuple[Failed, int]:
    """The known ways to fail, in words; anything else is our bug and keeps its traceback."""
    trace = "".join(traceback.format_exception(error))
    if is_out_of_memory(error):
        return Failed("training.out_of_memory", {}, "train_batch_size", trace), USER
    if isinstance(error, UserError):
        return Failed(error.message.code, error.message.values, error.setting), USER
    if type(error).__module__ == "torch._dynamo.exc":
        reason = str(error).strip().splitlines()[0][:200]
        return Failed("training.compile_failed", {"reason": reason}, "dynamo_use_fullgraph"), USER
    if isinstance(error, OSError) and (found := _disk_trouble(error)):
        return found, USER
    return Failed("training.bug", {"error": f"{type(error).__name__}: {error}"}, trace=trace), BUG


def _disk_trouble(error: OSError) -> Failed | None:
    """What a disk answered, in words; None for an OSError about no file."""
    values = {"path": str(error.filename or ""), "reason": error.strerror or str(error)}
    if error.errno in DISK_FULL:
        return Failed("training.disk_full", values, "output_dir")
    if isinstance(error, PermissionError) or error.errno in CLOSED:
        return Failed("training.no_permission", values, "output_dir")
    return Failed("training.file_error", values, "output_dir") if error.filename else None
