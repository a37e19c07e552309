"""How a run ended, in one message: the file and how to use it, or what went wrong and what to change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app.jobs import extend, lora_card, open_folder, remedies
from app.jobs.files import made, result_url
from app.jobs.record import JobRecord
from app.jobs.store import Job
from app.jobs.tool_outcome import tool_outcome
from app.texts import base_name, duration, said, size, thousands, word
from trainer.errors import UserError
from trainer.events import Failed, Finished, Saved, Stopped
from trainer.families.family import Family
from trainer.families.table import FAMILIES
from trainer.files.job_folder import TRAIN
from trainer.messages import Language, comma
from trainer.plan.sample_prompts import SamplePrompt, prompts
from trainer.settings import TRAINING, family_key

KILLED = (-9, 137)
"""Exit codes of a process that the system ended (Linux: the out-of-memory killer)."""


def outcome(job: Job, record: JobRecord, state: str, language: Language) -> dict[str, Any] | None:
    """The end in words, as plain data; None while the run has not ended. Of a tool: see tool_outcome.

    Keys: kind, paused, title, facts, why, fix, kept, setting {key, label}, remedies, memory, trace, file
    {name, size, url, path, folder: whether it can be shown}, use (how to use the file), lora (what is
    inside), try (what "Try it" begins with), resume (step to continue from, or None), extend.
    """
    if job.kind != TRAIN:
        return tool_outcome(job, record, state, language)
    if state in ("queued", "running"):
        return None
    end = record.end
    if state == "finished" and isinstance(end, Finished):
        rest = _finished(job, record, end, language)
    elif state == "failed" and isinstance(end, Failed):
        rest = _failed(job, record, end, language)
    elif state == "stopped" and isinstance(end, Stopped):
        rest = _stopped(job, record, end, language)
    else:
        rest = _lost(job, record, language)
    resumable = job.can_continue()
    paused = state == "stopped" and isinstance(end, Stopped) and end.paused
    return {"kind": state, "paused": paused, **rest, "resume": _state_step(record) if resumable else None}


def _finished(job: Job, record: JobRecord, end: Finished, language: Language) -> dict[str, Any]:
    file = record.files.get(end.path)
    bytes_ = file.size if file else _size_on_disk(end.path)
    time_ = duration(record.elapsed(at_work=False), language)
    values = {"size": size(bytes_), "steps": thousands(end.step), "time": time_}
    return {
        "title": word(language, "outcome.finished"),
        "facts": word(language, "outcome.finished_facts", **values),
        "extend": extend.offer_to_extend(job, record),
        **_result(job, record, end.path, size(bytes_), language),
    }


def _result(job: Job, record: JobRecord, path: str, size_: str, language: Language) -> dict[str, Any]:
    """The file that a run left: where it is, how to use it, what is inside, how to try it."""
    return {
        "file": {
            "name": base_name(path),
            "size": size_,
            "url": result_url(job.id, path),
            "path": path,
            "folder": open_folder.can(job.store.roots) and _is_there(job, path),
        },
        "use": how_to_use(job, record, path, language),
        "lora": inside_of(path, language) if _is_there(job, path) else None,
        "try": offer_to_try(job, record, path),
    }


def inside_of(path: str, language: Language) -> dict[str, Any] | None:
    """The LoRA file explained, short; None where it is gone or cannot be read."""
    if not Path(path).is_file():
        return None
    try:
        card = lora_card.card(Path(path), language)
    except (UserError, OSError):
        return None
    return {key: value for key, value in card.items() if key != "metadata"}


def offer_to_try(job: Job, record: JobRecord, path: str) -> dict[str, Any] | None:
    """What "Try it" begins with: the run's own words, size and steps; None where there is no file."""
    files = [base_name(file.path) for file in reversed(record.lora_files()) if _is_there(job, file.path)]
    if base_name(path) not in files:
        return None
    settings = job.settings()
    family = FAMILIES[family_key(settings)]
    asked = prompts(str(settings.get("sample_prompts") or ""), family)
    learned = words_of_run(record)
    side = side_of(settings, family)
    like = asked[0] if asked else SamplePrompt(learned, "", side, side, steps=20)
    return {
        "file": base_name(path),
        "files": files,
        "prompt": like.prompt,
        "negative": like.negative,
        "width": like.width,
        "height": like.height,
        "steps": like.steps,
        "scale": like.scale,
        "seed": _seed_of(record, like),
        "sampler": like.sampler,
    }


def _seed_of(record: JobRecord, like: SamplePrompt) -> int:
    """The seed with which the run drew this prompt, so that the same picture comes."""
    drawn = [sample.seed for (_, index), sample in record.samples.items() if index == 0]
    if like.seed is not None:
        return like.seed
    return drawn[-1] if drawn else 1


def side_of(settings: Mapping[str, Any], family: Family) -> int:
    """Side of a square picture of about the size that was trained ("Max resolution")."""
    numbers = [int(text) for text in re.findall(r"\d+", str(settings.get("max_resolution") or ""))]
    if not numbers:
        return family.sample_side
    return max(64, min(1024, round(sum(numbers) / len(numbers)) // 64 * 64))


def _stopped(job: Job, record: JobRecord, end: Stopped, language: Language) -> dict[str, Any]:
    title = _title(record, "outcome.paused" if end.paused else "outcome.stopped", end.step, language)
    if not end.path:
        return {"title": title, "facts": word(language, "outcome.stopped_nothing")}
    file = record.files.get(end.path)
    bytes_ = file.size if file else _size_on_disk(end.path)
    return {
        "title": title,
        "facts": word(language, "outcome.stopped_kept", size=size(bytes_)),
        **_result(job, record, end.path, size(bytes_), language),
    }


def _failed(job: Job, record: JobRecord, end: Failed, language: Language) -> dict[str, Any]:
    message = said(end.code, end.values, language)
    known = TRAINING.get(end.setting)
    return {
        "title": _title(record, "outcome.failed", record.step, language),
        "facts": message.what,
        "why": message.why,
        "fix": message.fix,
        "kept": _kept(record, language),
        "setting": {"key": known.key, "label": known.spec.label} if known else None,
        "trace": end.trace,
        **_ways_out(job, record, end.code, end.setting, language),
    }


def _ways_out(job: Job, record: JobRecord, code: str, setting: str, language: Language) -> dict[str, Any]:
    """Remedies to choose from; where memory ran out, what is needed and what there is."""
    ways: dict[str, Any] = {"remedies": remedies.remedy_rows(job, code, setting, language)}
    total = record.started.memory_total if record.started else 0
    if not (ways["remedies"] and total and code == remedies.MEMORY):
        return ways
    if needs := remedies.memory_needed(job.folder.settings(), {}, job.store.roots):
        ways["memory"] = {"now": needs, "now_text": size(needs), "total": total, "total_text": size(total)}
    return ways


def _lost(job: Job, record: JobRecord, language: Language) -> dict[str, Any]:
    by_system = job.exit_code() in KILLED
    return {
        "title": _title(record, "outcome.lost", record.step, language),
        "facts": word(language, "outcome.lost_memory" if by_system else "outcome.lost_why"),
        "fix": _lost_fix(record, by_system, language),
        "kept": _kept(record, language),
        **(_ways_out(job, record, remedies.MEMORY, "", language) if by_system else {}),
    }


def _lost_fix(record: JobRecord, by_system: bool, language: Language) -> str:
    if by_system:
        return word(language, "outcome.lost_memory_fix")
    return "" if _state_step(record) else word(language, "outcome.lost_anew")


def _title(record: JobRecord, key: str, step: int, language: Language) -> str:
    if not step or not record.total:
        return word(language, f"{key}_early")
    return word(language, key, step=thousands(step), total=thousands(record.total))


def _kept(record: JobRecord, language: Language) -> str:
    """ "Nothing is lost: step 400 was saved.", where a file or a state was."""
    steps = [file.step for file in record.files.values()]
    return word(language, "outcome.nothing_lost", step=thousands(max(steps))) if steps else ""


def _state_step(record: JobRecord) -> int:
    """The step of the job's own state."""
    return max((file.step for file in record.files.values() if file.kind == "safety"), default=0)


def how_to_use(job: Job, record: JobRecord, path: str, language: Language) -> dict[str, Any]:
    """Prompt, learned words, and the base models it fits."""
    settings = job.settings()
    learned = list(dict.fromkeys(_learned_words(record)))
    stem = Path(base_name(path)).stem
    return {
        "prompt": " ".join([f"<lora:{stem}:0.8>", *learned[:1]]),
        "words": comma(language).join(learned),
        "base": word(language, f"works.{family_key(settings)}"),
    }


def words_of_run(record: JobRecord) -> str:
    """The words of all picture folders, each once."""
    return ", ".join(dict.fromkeys(_learned_words(record)))


def _learned_words(record: JobRecord) -> Iterator[str]:
    """The words of the picture folders ("10_sks cat" -> "sks cat"); old runs have only the names."""
    for folder in record.plan.get("folders", ()):
        if isinstance(folder, dict) and not folder.get("is_reg"):
            words = str(folder.get("words") or str(folder.get("name", "")).partition("_")[2])
            if words.strip():
                yield words.strip()


def _is_there(job: Job, path: str) -> bool:
    """Whether what a run says it wrote is there, and the page may look at it."""
    place = Path(path)
    return job.store.may_use(place) and place.exists()


def _size_on_disk(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def files_of(job: Job, record: JobRecord) -> list[dict[str, Any]]:
    """Files of a run that are still there, newest first: LoRA files, the last state."""
    here = [file for file in record.files.values() if _is_there(job, file.path)]
    rows = [_file_row(job, file) for file in reversed(here) if file.kind == "lora"]
    rows += [_smaller_row(job, path) for path in made(job, record)]
    states = [file for file in here if file.kind != "lora"]
    return rows + [{"kind": "state", "step": file.step, "size": size(file.size)} for file in states[-1:]]


def _smaller_row(job: Job, path: Path) -> dict[str, Any]:
    row = {"kind": "lora", "name": path.name, "size": size(_size_on_disk(str(path)))}
    return {**row, "step": 0, "epoch": 0, "final": False, "url": result_url(job.id, str(path))}


def _file_row(job: Job, file: Saved) -> dict[str, Any]:
    return {
        "kind": "lora",
        "name": base_name(file.path),
        "size": size(file.size),
        "step": file.step,
        "epoch": file.epoch,
        "final": file.final,
        "url": result_url(job.id, file.path),
    }


def chosen_remedy(job: Job, number: Any) -> dict[str, Any]:
    """Settings that the remedy of this number changes; none where a run cannot continue with it."""
    end, code, setting = job.record().end, remedies.MEMORY, ""
    if isinstance(end, Failed) and job.state == "failed":
        code, setting = end.code, end.setting
    return remedies.changes_of(job, code, setting, number)
