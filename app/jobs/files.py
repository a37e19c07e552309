"""A job's files by name: a name is looked up among what the job has written, never joined to a path."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from app.jobs.record import JobRecord
from app.jobs.store import Job
from app.texts import base_name
from trainer.files.job_folder import TRAIN
from trainer.preflight.saving import LORA_ENDINGS

MADE = re.compile(r"(?P<stem>.+)-rank\d+(-\d+)?\.safetensors")
"""Names that trainer.extract gives."""


def sample_file(job: Job, name: str) -> Path | None:
    """A sample picture of a job by its file name."""
    for sample in job.record().samples.values():
        if base_name(sample.path) == name:
            return inside(job.folder.samples / name, job.folder.path)
    return None


def trial_file(job: Job, name: str) -> Path | None:
    """A picture that "Try it" has drawn."""
    path = job.folder.samples / "try" / name
    return inside(path, job.folder.path) if re.fullmatch(r"[0-9a-f]{24}\.png", name) else None


def result_file(job: Job, record: JobRecord, name: str) -> Path | None:
    """A LoRA file of a job by its file name: one that the job says it wrote, or a smaller one
    taken out of it, in its Output folder.
    """
    own = [Path(file.path) for file in record.lora_files() if base_name(file.path) == name]
    if job.kind != TRAIN:
        result = inside(own[-1], own[-1].parent) if own else None
    else:
        folder = Path(str(job.settings().get("output_dir") or "")).expanduser()
        if not folder.is_absolute():
            return None
        smaller = [path for path in made(job, record) if path.name == name]
        result = next((inside(path, folder) for path in (*own, *smaller)), None)
    served = result and result.name.lower().endswith(LORA_ENDINGS) and job.store.may_use(result)
    return result if served else None


def result_url(job_id: str, path: str) -> str:
    """Where the page downloads a LoRA file of a job."""
    return f"/live/{quote(job_id)}/result/{quote(base_name(path))}"


def made(job: Job, record: JobRecord) -> list[Path]:
    """The smaller files that lie beside the run's own, by name."""
    own = {path for file in record.lora_files() if job.store.may_use(path := Path(file.path))}
    found = []
    for folder in {path.parent for path in own}:
        stems = {path.stem for path in own if path.parent == folder}
        here = folder.glob("*-rank*.safetensors") if folder.is_dir() else ()
        found += [path for path in here if (name := MADE.fullmatch(path.name)) and name["stem"] in stems]
    return sorted(path for path in found if path not in own)


def inside(path: Path, folder: Path) -> Path | None:
    """The file, if it is one and lies in the folder, links followed."""
    try:
        real, root = path.resolve(strict=True), folder.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        return None
    return real if real.is_file() and real.is_relative_to(root) else None
