"""A finished job goes on: more epochs or steps in the same job; its curve, samples and names go on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from app.jobs.record import JobRecord
from app.jobs.store import Job
from trainer.errors import UserError
from trainer.events import Finished, Notice, Saved
from trainer.files.whole_file import partial_of
from trainer.plan.saves import epoch_name, step_name

MOST_MORE = 1_000_000


def offer_to_extend(job: Job, record: JobRecord) -> dict[str, Any] | None:
    """{"unit": "epochs" or "steps", "done", "more": a first guess}; None where the job cannot go on."""
    key = record.plan.get("decided_by")
    done = job.settings().get(key) if isinstance(key, str) else None
    if not isinstance(done, int) or not job.can_extend():
        return None
    unit = "steps" if key == "max_train_steps" else "epochs"
    return {"unit": unit, "done": done, "more": max(1, done // 2)}


def extend(job: Job, more: Any) -> None:
    """Put a finished job in line again, for so many epochs or steps more. Raises UserError, OSError."""
    record = job.record()
    offered = offer_to_extend(job, record)
    if offered is None:
        raise UserError("page.cannot_extend")
    if not isinstance(more, int) or isinstance(more, bool) or not 1 <= more <= MOST_MORE:
        raise UserError("page.extend_number", most=f"{MOST_MORE:,}")
    kept = _keep_final(record, offered["unit"])
    values = {"more": f"{more:,}", "unit": offered["unit"]}
    events = [*([kept] if kept else []), Notice(f"training.extended_{offered['unit']}", values)]
    job.store.extend(job, {str(record.plan["decided_by"]): offered["done"] + more}, events)


def _keep_final(record: JobRecord, unit: str) -> Saved | None:
    """The finished LoRA under the name of its epoch or step: the one to come takes its own."""
    end = record.end
    if not isinstance(end, Finished) or not Path(end.path).is_file():
        return None
    final = Path(end.path)
    epoch = record.epoch if unit == "epochs" else 0
    stem = epoch_name(final.stem, epoch) if epoch else step_name(final.stem, end.step)
    copy = final.with_name(stem + final.suffix)
    if copy.exists():
        return None
    partial = partial_of(copy)  # of a copy that was cut short nothing is left: the next run sweeps it away
    shutil.copy2(final, partial)
    partial.replace(copy)
    return Saved(end.step, epoch, str(copy), copy.stat().st_size)
