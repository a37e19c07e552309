"""Runs one tool's job: from its folder to its last event, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Lock

from trainer.errors import StopRequested, UserError
from trainer.events import Event, Failed, Finished, Phase, Stopped
from trainer.files.job_folder import JobFolder
from trainer.files.redact import secret_values
from trainer.files.roots import Roots
from trainer.jobs import console
from trainer.jobs.quiet import quiet_libraries
from trainer.jobs.run import DONE, STOPPED, Teller, cannot_begin, explain, refused
from trainer.tools.checks import require_form
from trainer.tools.table import TOOLS
from trainer.tools.tool import Tool, Work

OWN_WORDS = {
    f"training.{name}": f"tools.{name}"
    for name in ("out_of_memory", "disk_full", "no_permission", "file_error")
}
"""A training's sentences that name what only a training has -> a tool's."""


def run_tool(
    folder: JobFolder,
    *,
    resume: bool = False,
    listen: console.Listener | None = None,
    begun: Callable[[], None] = lambda: None,
) -> int:
    """Do what a tool's job asks for; returns the exit code. Every end is an event in the folder.

    `listen` hears each event (default: it is printed); `begun` is called when the job is ours.
    """
    try:
        lock = folder.hold()
    except UserError as error:
        return refused(error)
    except OSError as error:
        return cannot_begin(error)
    try:
        folder.forget_old_stop()
        begun()
        return _run(folder, resume, listen)
    finally:
        if lock:
            lock.release()


def _run(folder: JobFolder, resume: bool, listen: console.Listener | None) -> int:
    """The job, which is ours alone now."""
    try:
        folder.write_own_process()
        emit = Teller(folder.event_log(), listen or console.listener(), Lock(), secret_values())
    except OSError as error:
        return cannot_begin(error)
    try:
        last, code = _worked(folder, emit, resume), DONE
    except (StopRequested, KeyboardInterrupt):
        last, code = Stopped(0), STOPPED
    except Exception as error:  # noqa: BLE001  # the last line of defence: the page must learn of every end
        last, code = _explained(error)
    emit.last(last)
    return code


def _explained(error: Exception) -> tuple[Failed, int]:
    """As of a training, but for what only a training has: batch size, Output folder."""
    failed, code = explain(error)
    if isinstance(error, UserError) and failed.code not in OWN_WORDS:
        return failed, code
    return replace(failed, code=OWN_WORDS.get(failed.code, failed.code), setting=""), code


def _worked(folder: JobFolder, emit: Teller, resume: bool) -> Event:
    emit(Phase("start"))
    tool = _tool(folder)
    form = require_form(tool, folder.form(tool.schema), Roots.of_environment())
    quiet_libraries()
    result = tool.run(form, Work(emit, folder.stop_requested, folder.path, resume))
    return Finished(0, str(result) if result else "")


def _tool(folder: JobFolder) -> Tool:
    kind = folder.told()["kind"]
    if kind not in TOOLS:
        raise UserError("tools.unknown", name=kind[:60])
    return TOOLS[kind]
