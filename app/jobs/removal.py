"""Removing a past run: its own folder, after a second yes, and nothing else.

LoRA files lie in the Output folder and stay; pictures and models are never inside a run's folder, and where
a person has put something of theirs in there, the run is not removed.
"""

from __future__ import annotations

import os
from pathlib import Path

from app.jobs.store import Job
from app.texts import size, word
from trainer.errors import UserError
from trainer.files.paths import PATH_WIDGETS, clean_path
from trainer.messages import Language
from trainer.settings import TRAINING
from trainer.tools.places import NEW, READ


def removal_question(job: Job, language: Language) -> str:
    """What is asked before a run is removed."""
    return word(language, "remove.ask", name=job.name, size=size(folder_size(job.folder.path)))


def check(job: Job) -> None:
    """Raise UserError where a run is not removed."""
    if job.state in ("running", "queued"):
        raise UserError("page.remove_busy")
    folder = job.folder.path.resolve()
    schema = job.tool.schema if job.tool else TRAINING
    values = job.settings()
    paths = [key for key, setting in schema.items() if setting.spec.widget in (*PATH_WIDGETS, *READ, *NEW)]
    theirs = [str(values.get(key) or "") for key in paths]
    theirs += [file.path for file in job.record().lora_files()]
    for text in theirs:
        place = Path(clean_path(text)) if text else None
        if place and place.is_absolute() and _is_in(place, folder):
            raise UserError("page.remove_holds", path=str(place))


def _is_in(place: Path, folder: Path) -> bool:
    try:
        real = place.resolve()
    except (OSError, RuntimeError, ValueError):
        return False
    return real.exists() and real.is_relative_to(folder)


def folder_size(folder: Path) -> int:
    """Bytes of all files below; links are not followed."""
    found = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                found += (Path(place) / name).lstat().st_size
            except OSError:  # noqa: PERF203  # gone meanwhile
                continue
    return found
