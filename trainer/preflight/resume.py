"""Checks of "Resume from saved training state": whether there is a state, and whether it is sound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trainer.errors import UserError
from trainer.files.job_folder import find_state
from trainer.files.state_folder import StateAbout, check_files, damaged, read_about
from trainer.problems import Problem, block, from_error
from trainer.settings import SETTINGS, Saving, Settings

THEIRS = ("train_state.json", "optimizer.bin")
"""Files of a state that sd-scripts (accelerate) writes."""


def check(settings: Settings) -> Iterator[Problem]:
    """Problems of the state that a new run begins in."""
    if not settings.saving.resume:
        return
    place, fix = Path(settings.saving.resume), {"resume": ""}
    values = {"label": SETTINGS["resume"].spec.label, "path": settings.saving.resume}
    try:
        if not place.is_dir():
            yield block("resume", "preflight.folder_not_found", fix, **values)
        elif not (state := find_state(place)):
            theirs = any((place / name).exists() for name in THEIRS)
            code = "preflight.state_of_others" if theirs else "preflight.state_missing"
            yield block("resume", code, fix, path=settings.saving.resume)
        else:
            read_about(state)
            check_files(state)
    except UserError as error:
        yield from_error(error, fix)
    except OSError:  # its folder may not be looked into
        yield from_error(damaged(place), fix)


def first_step(saving: Saving) -> int:
    """Steps that the state to begin in has made already; 0 where there is none that can be read."""
    about = _about(saving)
    return about.step if about else 0


def _about(saving: Saving) -> StateAbout | None:
    try:
        state = find_state(Path(saving.resume)) if saving.resume else None
        return read_about(state) if state else None
    except (UserError, OSError):
        return None
