"""The live view: what a job is doing, sent piece by piece to one `gr.HTML`.

The browser (assets/run.js) asks every second with a *cursor*: where its log, its curve and its
lists stop. The answer has what came after. A cursor of another job, of another start of the server or
of a rewritten record counts as none, and everything is sent again.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from app.form.look import rate_curves
from app.jobs.judged import ENDS, judged, rate_that_counts, trains_both
from app.jobs.outcome import files_of, outcome, words_of_run
from app.jobs.record import JobRecord
from app.jobs.store import Job, JobStore
from app.jobs.tool_outcome import title_of
from app.texts import base_name, language_of, log_line
from trainer.errors import UserError
from trainer.families.table import FAMILIES
from trainer.files.job_folder import WISHES
from trainer.kohya import additional
from trainer.messages import Language
from trainer.plan.sample_prompts import prompts
from trainer.preflight import places
from trainer.settings import family_key

SECOND_TEXT = "text_encoder_2"
"""Parameter group of SDXL's second text encoder, where it has a rate of its own."""
BOOT = secrets.token_hex(4)
"""Differs in every start of the server."""
FIRST_POINTS = 800
NEXT_POINTS = 24
"""Curve points per answer: a fast run gets a thinned curve, so that the line stays below 2 kB/s."""
FIRST_LINES = 300
NEXT_LINES = 50


def answer(store: JobStore, cursor: Mapping[str, Any]) -> dict[str, Any]:
    """One answer to the browser: what is new since the cursor, or with "glance" how far the job is."""
    job = store.current()
    if job is None:
        view: dict[str, Any] = {"boot": BOOT, "job": "", "state": "none"}
    else:
        view = at_a_glance(job) if cursor.get("glance") else news_of(job, cursor)
        view["tool"] = title_of(job.kind, language_of(cursor.get("lang")))
    view["queue"] = [{"id": other.id, "name": other.name} for other in store.queue()]
    view["waits"] = store.waits()
    view["was"] = what_became_of(store, cursor.get("was"), view["job"], language_of(cursor.get("lang")))
    return view


def what_became_of(store: JobStore, was: Any, now: str, language: Language) -> dict[str, Any] | None:
    """The job that the browser saw at work last, where it is another one by now."""
    job = store.get(was) if isinstance(was, str) and was and was != now else None
    return job and {
        "id": job.id,
        "name": job.name,
        "state": job.state,
        "tool": title_of(job.kind, language),
    }


def at_a_glance(job: Job) -> dict[str, Any]:
    """A job for who shows no more than how far it is."""
    state = job.state
    now = progress(job, job.record(), state) if state == "running" else {"name": job.name}
    return {"boot": BOOT, "job": job.id, "state": state, "now": now, "glance": True}


def news_of(job: Job, cursor: Mapping[str, Any]) -> dict[str, Any]:
    """What is new about a job since the cursor."""
    language = language_of(cursor.get("lang"))
    record, state = job.record(), job.state
    key = f"{BOOT}.{record.generation}.{language}"
    fresh = cursor.get("job") != job.id or cursor.get("key") != key
    point, line, version = (
        (0, 0, -1) if fresh else (_int(cursor, name) for name in ("point", "line", "version"))
    )
    view: dict[str, Any] = {"boot": BOOT, "key": key, "job": job.id, "state": state, "fresh": fresh}
    view["now"] = progress(job, record, state)
    if len(record.curves.steps) != point:
        view["curve"] = run_curves(record, point, FIRST_POINTS if point == 0 else NEXT_POINTS)
    if record.log_count != line:
        view["log"] = log(record, line, FIRST_LINES if fresh else NEXT_LINES, language)
    signature = hash((record.version, state)) & 0xFFFFFFFF
    if signature != version:
        view["parts"] = {"version": signature, **parts(job, record, state, language)}
    return view


def _int(cursor: Mapping[str, Any], name: str) -> int:
    value = cursor.get(name)
    return value if isinstance(value, int) else 0


def progress(job: Job, record: JobRecord, state: str) -> dict[str, Any]:
    """The numbers at the top of the view; they change all the time."""
    running = state == "running"
    # It is continued, and its new process has not told anything yet.
    begins = running and not job.is_told_of(record)
    phase, curves = None if begins else record.phase, record.curves
    left = record.remaining() if running and not begins else None
    now: dict[str, Any] = {
        "name": job.name,
        "started": record.began or job.created,
        "step": record.step,
        "total": record.total,
        "epoch": record.epoch,
        "epochs": record.started.epochs if record.started else 0,
        "elapsed": round(record.elapsed(at_work=running and not begins), 1),
        "left": None if left is None else round(left, 1),
        "each": rounded(record.seconds_per_step()),
        "phase": phase.name if phase else "start",
        "done": phase.done if phase else 0,
        "of": phase.total if phase else 0,
        "stopping": running and job.folder.stop_requested(),
        "pausing": running and job.folder.pause_requested(),
        "wishes": [wish for wish in WISHES if running and job.folder.wish_file(wish).exists()],
        "memory": record.memory,
        "memory_total": record.started.memory_total if record.started else 0,
        "phases": [[part.name, round(part.seconds, 1)] for part in _first_phases(record) if not begins],
    }
    if curves.steps:
        now["loss"] = rounded(curves.smoothed[-1])
        now["rate"] = {name: rounded(line[-1]) for name, line in curves.rates.items() if line}
    return now


def _first_phases(record: JobRecord) -> list[Any]:
    """The phases before training, and the last one: what comes between repeats too often to list."""
    before = []
    for phase in record.phases:
        if phase.name == "train":
            break
        before.append(phase)
    return before[-6:]


def rounded(value: float) -> float:
    """Four digits are enough for a picture."""
    return float(f"{value:.4g}")


def run_curves(record: JobRecord, begin: int, most: int) -> dict[str, Any]:
    """Points of the curves from index `begin` on, thinned to `most`."""
    curves = record.curves
    again = begin > len(curves.steps)  # a run that continues from an earlier step
    if again:
        begin, most = 0, FIRST_POINTS
    points = curves.thinned(begin, most)
    return {
        "from": curves.steps[begin] if points else 0,
        "at": len(curves.steps),
        "again": again,
        "step": [curves.steps[index] for index in points],
        "loss": [rounded(curves.losses[index]) for index in points],
        "smooth": [rounded(curves.smoothed[index]) for index in points],
        "rate": {name: [rounded(line[index]) for index in points] for name, line in _rates(record).items()},
    }


def _rates(record: JobRecord) -> dict[str, Any]:
    """The rates of two parameter groups, the UNet's first, and the second text encoder's own."""
    rates = record.curves.rates
    ordered = sorted(rates, key=lambda name: name != "unet")
    shown = [*[name for name in ordered if name != SECOND_TEXT][:2], SECOND_TEXT]
    return {name: rates[name] for name in shown if name in rates}


def log(record: JobRecord, begin: int, most: int, language: Language) -> dict[str, Any]:
    """Log lines from number `begin` on, at most the last `most`: [time, level, text]."""
    entries = [entry for entry in record.log if entry.number >= begin][-most:]
    lines_of = ((entry, *log_line(entry.event, language)) for entry in entries)
    lines = [[round(entry.time), level, text] for entry, level, text in lines_of if text]
    return {"at": record.log_count, "lines": lines}


def parts(job: Job, record: JobRecord, state: str, language: Language) -> dict[str, Any]:
    """What changes now and then: sample grid, files, outcome."""
    plan = record.plan
    ended, verdict = end_and_verdict(job, record, state, language)
    return {
        "prompts": sample_prompts(job, record),
        "sample_steps": list(plan.get("sample_steps", ())),
        "samples": [sample_row(job, sample) for sample in record.samples.values()],
        "saves": [
            save["step"] for save in plan.get("saves", ()) if isinstance(save, dict) and "step" in save
        ],
        "files": files_of(job, record),
        "outcome": ended,
        "judged": verdict,
        "planned": planned_rates(job, record) if state == "running" else {},
    }


def end_and_verdict(
    job: Job, record: JobRecord, state: str, language: Language
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """What came of a run, and what it says of itself: the file to take is the one to try first."""
    ended = outcome(job, record, state, language)
    values = job.settings()
    rate, both = rate_that_counts(values), trains_both(values)
    verdict = judged(record, words_of_run(record), language, ended=state in ENDS, rate=rate, both=both)
    if ended and ended.get("try") and verdict and verdict.get("file") in ended["try"]["files"]:
        ended["try"]["file"] = verdict["file"]
    return ended, verdict


def planned_rates(job: Job, record: JobRecord) -> dict[str, list[list[float]]]:
    """Learning rates that the schedule will give, by parameter group: [[step, rate], …]."""
    try:
        settings = additional.applied(job.folder.settings(), places.may_read(job.store.roots))
    except UserError:
        return {}
    planned = (
        rate_curves(settings, record.total, int(record.plan.get("warmup_steps") or 0))
        if record.total
        else None
    )
    lines = planned["lines"] if planned else {}
    return {
        name: [[step, rounded(rate)] for step, rate in line[::2] + line[-1:]] for name, line in lines.items()
    }


def sample_row(job: Job, sample: Any) -> list[Any]:
    """[step, index of the prompt, address of the picture]."""
    name = base_name(sample.path)
    return [sample.step, sample.index, f"/live/{quote(job.id)}/sample/{quote(name)}?{sample.seed}"]


def sample_prompts(job: Job, record: JobRecord) -> list[str]:
    """The prompts of the sample pictures, by index."""
    settings = job.settings()
    family = FAMILIES[family_key(settings)]
    asked = [prompt.prompt for prompt in prompts(str(settings.get("sample_prompts") or ""), family)]
    for sample in record.samples.values():
        asked += [""] * (sample.index + 1 - len(asked))
        asked[sample.index] = sample.prompt
    return asked
