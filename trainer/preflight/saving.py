"""Checks of what is written: output folder and name, free disk, logs, sample pictures, states."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from trainer.errors import UserError
from trainer.families.family import Family
from trainer.families.table import named_by
from trainer.files.hub import REPO, REPO_TYPES, VISIBILITIES, place_of
from trainer.files.paths import FORBIDDEN, is_reserved, is_writable, nearest_existing, visible
from trainer.files.reading import read_toml
from trainer.files.secrets import read_secret
from trainer.messages import say
from trainer.plan.run import Plan
from trainer.plan.sample_prompts import parse_lines
from trainer.plan.saves import taken_by
from trainer.preflight.no_file import no_file
from trainer.problems import Problem, block, hint
from trainer.settings import TRAINING, Folders, Records, Sampling, Saving, Settings

LORA_ENDINGS = (".safetensors", ".ckpt", ".pt")
LONGEST_NAME = 180
"""Bytes; file systems stop at 255, and step number and ending come behind the name."""
NEARLY_FULL = 1_000_000_000
"""Free bytes under which a disk counts as nearly full."""


def check(settings: Settings) -> Iterator[Problem]:
    """Problems that do not need the plan."""
    yield from _check_output(settings.folders)
    yield from check_name(settings.folders.output_name)
    yield from _check_logging(settings.folders, settings.records)
    yield from _check_samples(settings.sampling, named_by(settings.model))
    yield from _check_hub(settings.saving)


def check_plan(settings: Settings, plan: Plan) -> Iterator[Problem]:
    """Problems that follow from the plan: names in use, disk space."""
    if plan.final_name != plan.wanted_name:
        ending = f".{settings.saving.save_model_as}"
        existing = taken_by(settings.folders.output_dir, settings.folders.output_name, ending)
        yield hint("output_name", "preflight.name_exists", name=existing, used=plan.final_name)
    if settings.folders.output_dir and (place := nearest_existing(Path(settings.folders.output_dir))):
        yield from _check_disk(place, plan)


def _check_disk(place: Path, plan: Plan) -> Iterator[Problem]:
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        return
    values = {"free": gigabytes(free), "needed": gigabytes(plan.disk_bytes), "files": f"{plan.files:,}"}
    if free < plan.disk_bytes:
        yield block("output_dir", "preflight.disk_full", None, **values)
    elif free < plan.disk_bytes + NEARLY_FULL:
        yield hint("output_dir", "preflight.disk_low", None, **values)


def gigabytes(count: int) -> str:
    """Bytes in words: "1.9 GB", below that "34 MB"."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"


def _check_output(folders: Folders) -> Iterator[Problem]:
    if not folders.output_dir:
        yield block("output_dir", "preflight.output_missing")
    else:
        yield from _check_writable("output_dir", folders.output_dir)


def _check_writable(key: str, folder: str) -> Iterator[Problem]:
    """A folder that will be created if it is missing."""
    place = nearest_existing(Path(folder))
    fix = {key: ""} if not TRAINING[key].spec.required else None
    values = {"label": TRAINING[key].spec.label, "path": folder, "place": str(place)}
    if place is None:
        yield block(key, "preflight.drive_missing", fix, **values)
    elif not place.is_dir():
        yield block(
            key, "preflight.folder_is_file", {key: str(place.parent)}, **values, parent=str(place.parent)
        )
    elif not is_writable(place):
        yield block(key, "preflight.not_writable", fix, **values)


def check_name(name: str) -> Iterator[Problem]:
    """The output name: a plain file name, without ending."""
    fixed = safe_output_name(name)
    values = {"name": name, "fixed": fixed}
    fix = {"output_name": fixed}
    if not visible(name).strip():
        yield block("output_name", "preflight.name_missing", fix, fixed=fixed)
    elif name.strip().lower().endswith(LORA_ENDINGS):
        yield block("output_name", "preflight.name_ending", fix, **values)
    elif "/" in name or "\\" in name:
        yield block("output_name", "preflight.name_path", fix, **values)
    elif FORBIDDEN.search(name) or name != visible(name).strip().rstrip("."):
        yield block("output_name", "preflight.name_characters", fix, **values)
    elif is_reserved(name):
        yield block("output_name", "preflight.name_reserved", fix, **values)
    elif len(name.encode()) > LONGEST_NAME:
        yield block("output_name", "preflight.name_long", fix, **values)
    elif not name.isascii():
        yield hint("output_name", "preflight.name_not_ascii", None, **values)


def safe_output_name(name: str) -> str:
    """The closest name that every system and program takes."""
    stem = visible(name).strip().rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    while stem.lower().endswith(LORA_ENDINGS):
        stem = stem[: stem.rindex(".")]
    stem = FORBIDDEN.sub("_", stem).strip().rstrip(".")
    stem = stem.encode()[:LONGEST_NAME].decode(errors="ignore")
    if is_reserved(stem):
        stem = f"_{stem}"
    return stem or "last"


def _check_logging(folders: Folders, records: Records) -> Iterator[Problem]:
    if folders.logging_dir:
        yield from _check_writable("logging_dir", folders.logging_dir)
    elif records.log_with in {"tensorboard", "all"}:
        fix = {"log_with": "wandb" if records.log_with == "all" else ""}
        yield hint("logging_dir", "preflight.logging_missing", fix)
    if records.log_with in {"wandb", "all"} and find_spec("wandb") is None:
        fix = {"log_with": "tensorboard" if folders.logging_dir else ""}
        yield hint("log_with", "preflight.no_wandb", fix)
    if records.log_tracker_config:
        yield from _check_tracker_config(records.log_tracker_config)


def _check_tracker_config(path: str) -> Iterator[Problem]:
    """A TOML file with tables."""
    fix = {"log_tracker_config": ""}
    if not Path(path).is_file():
        yield no_file("log_tracker_config", path)
        return
    try:
        content = read_toml(Path(path))
    except UserError as error:
        reason = error.message.values.get("reason") or say(error.message).what
        yield block("log_tracker_config", "preflight.tracker_config", fix, path=path, reason=reason)
        return
    if not all(isinstance(table, dict) for table in content.values()):
        reason = [key for key, table in content.items() if not isinstance(table, dict)]
        yield block("log_tracker_config", "preflight.tracker_config", fix, path=path, reason=reason)


def _check_samples(sampling: Sampling, family: Family) -> Iterator[Problem]:
    lines = parse_lines(sampling.sample_prompts, family)
    yield from (line for line in lines if isinstance(line, Problem))
    draws = sampling.sample_every_n_steps or sampling.sample_every_n_epochs or sampling.sample_at_first
    if draws and not lines:
        yield hint("sample_prompts", "preflight.sample_no_prompts")
    elif lines and not draws:
        yield hint("sample_every_n_epochs", "preflight.sample_never", {"sample_every_n_epochs": 1})
    if sampling.sample_every_n_steps and sampling.sample_every_n_epochs:
        yield hint("sample_every_n_steps", "preflight.sample_both", {"sample_every_n_steps": 0})


def _check_hub(saving: Saving) -> Iterator[Problem]:
    """Where files are sent to, and where a state comes from."""
    repo = saving.huggingface_repo_id
    if repo and not REPO.fullmatch(repo):
        yield block("huggingface_repo_id", "preflight.hub_repo", {"huggingface_repo_id": ""}, text=repo)
    choices = {"huggingface_repo_type": REPO_TYPES, "huggingface_repo_visibility": VISIBILITIES}
    for key, allowed in choices.items() if repo else ():
        if getattr(saving, key) not in allowed:
            values = {
                "label": TRAINING[key].spec.label,
                "value": getattr(saving, key),
                "choices": list(allowed[1:]),
            }
            yield block(key, "preflight.hub_choice", {key: ""}, **values)
    if repo and not saving.huggingface_token and not read_secret("huggingface_token"):
        yield hint("huggingface_token", "preflight.hub_no_token", {"huggingface_repo_id": ""})
    if saving.resume_from_huggingface and not place_of(saving.resume_from_huggingface):
        fix = {"resume_from_huggingface": ""}
        yield block(
            "resume_from_huggingface", "preflight.hub_state", fix, text=saving.resume_from_huggingface
        )
