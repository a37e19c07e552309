"""Runs one job: from its folder to its last event, whatever happens in between."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable
from pathlib import Path

import psutil

from trainer import additional, console, preflight
from trainer.errors import StopRequested, UserError
from trainer.events import Event, Failed, Finished, Phase, Started, Stopped
from trainer.job_folder import JobFolder
from trainer.places import cleaned
from trainer.quiet import quiet_libraries
from trainer.settings import Settings

DONE, BUG, USER, STOPPED = 0, 1, 2, 3


def run_job(folder: JobFolder, *, resume: bool = False) -> int:
    """Train the job in this folder; returns the exit code. Every end is an event in the folder.

    `resume` continues from the job's own state; from the beginning where it has none yet.
    """
    me = psutil.Process()
    folder.write_json(folder.process_file, {"pid": me.pid, "started": me.create_time()})
    log, listen = folder.event_log(), console.listener()

    def emit(event: Event) -> None:
        log.emit(event)
        listen(event)

    try:
        last, code = _train(folder, emit, resume)
    except StopRequested:
        last, code = Stopped(0), STOPPED
    except UserError as error:
        last, code = Failed(error.message.code, error.message.values, error.setting), USER
    except Exception as error:  # noqa: BLE001  # the last line of defence: the page must learn of every end
        last, code = _explain(error)
    emit(last)
    log.close()
    return code


def _train(folder: JobFolder, emit: Callable[[Event], None], resume: bool) -> tuple[Event, int]:
    """Check, build, train. Heavy imports come after the checks, so that mistakes are told at once."""
    emit(Phase("start"))
    settings = cleaned(folder.settings())
    checked = preflight.check(settings)
    settings = cleaned(additional.applied(settings))
    for problem in checked.problems:
        if problem.blocks:
            raise UserError(problem.code, problem.setting, **problem.values)
    quiet_libraries()
    from trainer.device import device_name
    from trainer.parts import build_parts
    from trainer.tracking import build_tracking
    from trainer.train import train

    parts = build_parts(settings, folder, emit, _state_to_resume(folder, settings, resume))
    plan = parts.plan
    emit(
        Started(
            plan.total_steps,
            plan.epochs,
            parts.seed,
            device_name(parts.device),
            plan.as_json(),
            parts.start.step,
        )
    )
    tracking = build_tracking(settings, emit)
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
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Failed("training.disk_full", {"path": str(error.filename or "")}), USER
    if isinstance(error, PermissionError):
        return Failed("training.no_permission", {"path": str(error.filename or "")}), USER
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return Failed("training.out_of_memory", trace=trace), USER
    return Failed("training.bug", {"error": f"{type(error).__name__}: {error}"}, trace=trace), BUG
