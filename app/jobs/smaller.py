"""LoRA files of a smaller rank, taken out of a run's DyLoRA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.jobs.files import result_file, result_url
from app.jobs.store import JobStore
from app.texts import language_of, said, size, word
from trainer.errors import UserError
from trainer.tools.extract import extract, ranks_in


def choices(path: Path) -> list[int]:
    """Ranks that a file holds beside its own; [] for a file that is no DyLoRA."""
    try:
        return list(ranks_in(path).smaller)
    except UserError:
        return []


def make(store: JobStore, request: Any) -> dict[str, Any]:
    """Write a smaller file: {"job", "file" (name), "rank"} -> {"name", "size", "url"} or {"error"}."""
    wish = request if isinstance(request, dict) else {}
    language, rank = language_of(wish.get("lang")), wish.get("rank")
    job = store.get(str(wish.get("job")))
    path = result_file(job, job.record(), str(wish.get("file"))) if job else None
    if job is None or path is None or not isinstance(rank, int):
        return {"error": word(language, "inside.gone")}
    try:
        new = extract(path, rank)
    except UserError as error:
        return {"error": str(said(error.message.code, error.message.values, language))}
    except OSError as error:
        return {"error": word(language, "smaller.disk", reason=error.strerror or str(error))}
    return {
        "name": new.name,
        "size": size(new.stat().st_size),
        "url": result_url(job.id, new.name),
    }
