"""One line about a job, from the beginning and the end of what it wrote: quick for any number of jobs."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from app.jobs.store import Job
from app.jobs.tool_outcome import title_of
from trainer.events import Started, parse
from trainer.messages import Language

HEAD = 256 << 10
START = b'"name": "start"'
"""In the line with which a process begins."""


def glance(job: Job, language: Language) -> dict[str, Any]:
    """{"id", "name", "tool", "state", "created", "seconds", "step", "total", "rank", "thumb", "resume"}.

    Seconds only of what is finished.
    """
    settings = job.settings()
    first, total = _beginning(job.folder.events_file)
    last = job.last_event()
    return {
        "id": job.id,
        "name": job.name,
        "tool": title_of(job.kind, language),
        "state": "paused" if job.paused else job.state,
        "created": job.created,
        "seconds": _seconds(job, first, last[0]) if last and first and job.state == "finished" else 0,
        "step": job.last_step(),
        "total": total,
        "rank": settings.get("network_dim"),
        "thumb": _newest_sample(job),
        "resume": job.can_continue(),
    }


def _beginning(path: Path) -> tuple[float, int]:
    """(time of the first event, total steps)."""
    try:
        with path.open("rb") as file:
            lines = file.read(HEAD).splitlines()
    except OSError:
        return 0.0, 0
    first = next((parsed[0] for line in lines[:5] if (parsed := parse(line))), 0.0)
    started = (parse(line) for line in lines if b'"event": "started"' in line[:30])
    return first, next(
        (found[1].total_steps for found in started if found and isinstance(found[1], Started)), 0
    )


def _seconds(job: Job, first: float, last: float) -> int:
    """How long a finished job worked, pauses between its processes left out."""
    path = job.folder.events_file
    try:
        return round(last - first - _pauses(path, path.stat().st_size))
    except OSError:
        return round(last - first)


@lru_cache(maxsize=1000)
def _pauses(path: Path, size: int) -> float:
    """Seconds between a process's last event and the next one's first; `size`: the file's, when asked."""
    events, pauses = path.read_bytes()[:size], 0.0
    at = events.find(START)
    while (at := events.find(START, at + 1)) > 0:
        line = events.rfind(b"\n", 0, at) + 1
        before = events.rfind(b"\n", 0, line - 1) + 1
        ended, began = parse(events[before:line]), parse(events[line : events.find(b"\n", at)])
        pauses += began[0] - ended[0] if ended and began else 0.0
    return pauses


def _newest_sample(job: Job) -> str:
    """Address of the first picture of the newest samples, "" where there is none."""
    try:
        names = sorted(name for name in os.listdir(job.folder.samples) if name.endswith(".png"))  # noqa: PTH208  # names only
    except OSError:
        return ""
    if not names:
        return ""
    newest = names[-1].partition("_")[0]
    name = next(name for name in names if name.startswith(newest))
    return f"/live/{quote(job.id)}/sample/{quote(name)}"
