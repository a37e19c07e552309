"""How a tool's job ended, in words: what was made, what was found, or what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.jobs import lora_card
from app.jobs.files import result_url
from app.jobs.record import JobRecord
from app.jobs.store import Job
from app.texts import base_name, duration, said, size, word
from trainer.errors import UserError
from trainer.events import Failed, Notice, Saved
from trainer.messages import Language, texts
from trainer.tools.proposals import read_proposals

MOST_FINDINGS = 200


def title_of(kind: str, language: Language) -> str:
    """A tool's name for people; "" for training."""
    return texts(language)["tools"].get(kind, {}).get("title", "")


def tool_outcome(job: Job, record: JobRecord, state: str, language: Language) -> dict[str, Any] | None:
    """The end in words, as plain data; None while it has not ended.

    Keys: kind, tool, title, facts, why, fix, setting {key, label}, trace, file, lora, findings
    [[level, text]], proposals (captions to be looked at), resume (0: it can go on, None: it cannot).
    """
    if state in ("queued", "running"):
        return None
    outcome: dict[str, Any] = {"kind": state, "tool": job.kind, "findings": list(_findings(record, language))}
    outcome["resume"] = 0 if job.can_continue() else None
    outcome["proposals"] = len(read_proposals(job.folder.path)) if job.tool and job.tool.proposes else 0
    name = title_of(job.kind, language)
    outcome["title"] = word(language, f"tool.{state}", tool=name)
    if state == "finished":
        return outcome | _finished(job, record, language)
    if state == "failed" and isinstance(record.end, Failed):
        return outcome | _failed(job, record.end, language)
    half = state == "stopped" and outcome["resume"] is None
    return outcome | {"facts": word(language, "tool.nothing_half") if half else ""}


def _findings(record: JobRecord, language: Language) -> Iterator[list[str]]:
    notices = [entry.event for entry in record.log if isinstance(entry.event, Notice)]
    for event in notices[-MOST_FINDINGS:]:
        yield [event.level, str(said(event.code, event.values, language))]


def _finished(job: Job, record: JobRecord, language: Language) -> dict[str, Any]:
    time = duration(record.elapsed(at_work=False), language)
    files = list(record.files.values())
    if not files:
        return {"facts": word(language, "tool.took", time=time)}
    last = files[-1]
    shown = _file(job, last, language)
    # A file that is shown has its place below the sentence.
    name = base_name(last.path) if shown else last.path
    key = "tool.made" if last.size else "tool.made_folder"
    return {"facts": word(language, key, file=name, size=size(last.size), time=time), **shown}


def _file(job: Job, file: Saved, language: Language) -> dict[str, Any]:
    """A LoRA file to be fetched, and what is inside; nothing for folders and whole models."""
    path = Path(file.path)
    if file.kind != "lora" or not job.store.may_use(path) or not path.is_file():
        return {}
    url = result_url(job.id, file.path)
    row: dict[str, Any] = {
        "file": {"name": base_name(file.path), "size": size(file.size), "url": url, "path": file.path}
    }
    try:
        card = lora_card.card(path, language)
    except (UserError, OSError):
        return row
    return {**row, "lora": {key: value for key, value in card.items() if key != "metadata"}}


def _failed(job: Job, end: Failed, language: Language) -> dict[str, Any]:
    sentence = said(end.code, end.values, language)
    setting = job.tool.schema.get(end.setting) if job.tool else None
    return {
        "facts": sentence.what,
        "why": sentence.why,
        "fix": sentence.fix,
        "setting": {"key": setting.key, "label": setting.spec.label} if setting else None,
        "trace": end.trace,
    }
