"""LoRA files of a smaller rank, taken out of a run's DyLoRA."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from app.jobs.record import JobRecord
from app.jobs.store import Job, JobStore
from app.texts import language_of, said, size, word
from trainer.errors import UserError
from trainer.tools.extract import extract, ranks_in

MADE = re.compile(r"(?P<stem>.+)-rank\d+(-\d+)?\.safetensors")
"""Names that trainer.extract gives."""


def choices(path: Path) -> list[int]:
    """Ranks that a file holds beside its own; [] for a file that is no DyLoRA."""
    try:
        return list(ranks_in(path).smaller)
    except UserError:
        return []


def made(job: Job, record: JobRecord) -> list[Path]:
    """The smaller files that lie beside the run's own, by name."""
    own = {path for file in record.lora_files() if job.store.may_use(path := Path(file.path))}
    found = []
    for folder in {path.parent for path in own}:
        stems = {path.stem for path in own if path.parent == folder}
        here = folder.glob("*-rank*.safetensors") if folder.is_dir() else ()
        found += [path for path in here if (name := MADE.fullmatch(path.name)) and name["stem"] in stems]
    return sorted(path for path in found if path not in own)


def make(store: JobStore, request: Any) -> dict[str, Any]:
    """Write a smaller file: {"job", "file" (name), "rank"} -> {"name", "size", "url"} or {"error"}."""
    from app.jobs.outcome import result_url
    from app.web.routes import result_file

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
