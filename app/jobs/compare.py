"""Past runs with settings, curve, samples and files; one against a preset, or several side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.form import presets
from app.jobs.live import end_and_verdict, rounded, sample_prompts, sample_row
from app.jobs.outcome import files_of
from app.jobs.store import Job, JobStore
from app.jobs.tool_outcome import title_of
from app.texts import word
from trainer.messages import Language
from trainer.schema import Schema
from trainer.settings import TRAINING

POINTS = 400
MOST_RUNS = 6
"""That are compared at once."""


def show_jobs(
    store: JobStore, ids: Sequence[str], against: str, language: Language, *, everything: bool = False
) -> dict[str, Any]:
    """One run, or up to MOST_RUNS beside each other: the settings that differ, or `everything`.

    One run is compared with the default, or with the preset `against`.
    """
    shown = [job for job_id in ids[:MOST_RUNS] if (job := store.get(job_id))]
    if not shown:
        return {"runs": [], "rows": [], "differ": 0, "settings": len(TRAINING)}
    values = [job.settings() for job in shown]
    tool = shown[-1].tool
    schema = tool.schema if tool else TRAINING
    if len(values) == 1:
        values.insert(0, _defaults(schema) if tool else base_settings(against, values[0]))
    rows = setting_rows(values, language, schema)
    differing = [row for row in rows if row["differs"]]
    return {
        "runs": [detail(job, language) for job in shown],
        "rows": rows if everything else differing,
        "differ": len(differing),
        "settings": len(schema),
        "bases": [] if tool else [[card["name"], card["title"]] for card in presets.cards(language)],
    }


def _defaults(schema: Schema[Any]) -> dict[str, Any]:
    return {key: setting.default for key, setting in schema.items()}


def base_settings(preset: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """What a run is compared with: the defaults, or a preset with the run's own paths and names."""
    defaults = _defaults(TRAINING)
    if preset not in presets.preset_names():
        return defaults
    values = presets.read(preset).settings.flat()
    return {**values, **{key: own.get(key) for key in presets.MINE if values.get(key) == defaults[key]}}


def detail(job: Job, language: Language) -> dict[str, Any]:
    """A run's curve, samples, files and end."""
    record, state = job.record(), job.state
    curves = record.curves
    points = curves.thinned(0, POINTS)
    ended, verdict = end_and_verdict(job, record, state, language)
    return {
        "id": job.id,
        "name": job.name,
        "tool": title_of(job.kind, language),
        "state": state,
        "created": job.created,
        "seconds": round(record.elapsed(at_work=state == "running" and job.is_told_of(record))),
        "total": record.total,
        "step": record.step,
        "curve": {
            "step": [curves.steps[index] for index in points],
            "smooth": [rounded(curves.smoothed[index]) for index in points],
            "loss": [rounded(curves.losses[index]) for index in points],
        },
        "prompts": sample_prompts(job, record),
        "samples": [sample_row(job, sample) for sample in record.samples.values()],
        "files": files_of(job, record),
        "outcome": ended,
        "judged": verdict,
    }


def setting_rows(
    runs: Sequence[Mapping[str, Any]], language: Language, schema: Schema[Any] = TRAINING
) -> list[dict[str, Any]]:
    """Every setting with its value in each run, in words."""
    rows = []
    for key, setting in schema.items():
        if setting.is_secret:
            continue
        values = [run.get(key, setting.default) for run in runs]
        words = [value_in_words(value, language) for value in values]
        differs = any(value != values[0] for value in values)
        rows.append({"key": key, "label": setting.spec.label, "values": words, "differs": differs})
    return rows


def value_in_words(value: Any, language: Language) -> str:
    """on, off, blank, 1e-4, several numbers, or the text itself."""
    if isinstance(value, bool):
        return word(language, "jobs_on" if value else "jobs_off")
    if value is None or value == "":
        return word(language, "jobs_blank")
    if isinstance(value, (list, tuple)):  # a rate for each text encoder
        return " ".join(value_in_words(one, language) for one in value)
    if isinstance(value, float) and value and abs(value) < 0.01:
        mantissa, _, exponent = f"{value:.3e}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:g}" if isinstance(value, float) else str(value)
