"""LoRA files of a smaller rank, taken out of a run's DyLoRA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.jobs.files import result_url
from app.jobs.store import Job
from app.texts import size
from trainer.errors import UserError
from trainer.tools.extract import extract, ranks_in


def smaller_ranks(path: Path) -> list[int]:
    """Ranks that a file holds beside its own; [] for a file that is no DyLoRA."""
    try:
        return list(ranks_in(path).smaller)
    except UserError:
        return []


def make_smaller(job: Job, path: Path, rank: int) -> dict[str, Any]:
    """Write a smaller file beside a run's own: {"name", "size", "url"}. Raises UserError, OSError."""
    new = extract(path, rank)
    return {"name": new.name, "size": size(new.stat().st_size), "url": result_url(job.id, new.name)}
