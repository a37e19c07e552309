"""Removing a past run: its own folder, after a second yes, and nothing else.

LoRA files lie in the Output folder and stay; pictures and models are never inside a run's folder, and where
a person has put something of theirs in there, the run is not removed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from app.jobs.store import Job, JobStore
from app.texts import language_of, size, word
from trainer.files.paths import PATH_WIDGETS, clean_path
from trainer.messages import Language
from trainer.settings import SETTINGS

PATHS = tuple(key for key, setting in SETTINGS.items() if setting.spec.widget in PATH_WIDGETS)


def remove(store: JobStore, request: Any) -> dict[str, Any]:
    """Ask, and at the second request do. `request`: {"job", "sure": the job's id again, "lang"}.

    Answers {"ask": sentence}, {"done": True} or {"error": sentence}.
    """
    wish = request if isinstance(request, dict) else {}
    language = language_of(wish.get("lang"))
    job = store.get(str(wish.get("job")))
    if job is None:
        return {"error": word(language, "error.no_job")}
    if reason := objection(job, language):
        return {"error": reason}
    if wish.get("sure") != job.id:
        values = {"name": job.name, "size": size(folder_size(job.folder.path))}
        return {"ask": word(language, "remove.ask", **values)}
    try:
        store.remove(job)
    except OSError as error:
        return {"error": word(language, "error.disk", reason=error.strerror or str(error))}
    return {"done": True}


def objection(job: Job, language: Language) -> str:
    """Why a job is not removed; "" where nothing speaks against it."""
    if job.state in ("running", "queued"):
        return word(language, "remove.busy")
    folder = job.folder.path.resolve()
    settings = job.settings()
    theirs = [str(settings.get(key) or "") for key in PATHS]
    theirs += [file.path for file in job.record().lora_files()]
    for text in theirs:
        place = Path(clean_path(text)) if text else None
        if place and place.is_absolute() and _is_in(place, folder):
            return word(language, "remove.holds", path=str(place))
    return ""


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
