"""How long a run will take, judged by past runs on this machine.

Past runs of the same kind (model, number format, gradient checkpointing, text encoder trained or not) count;
time per step goes with the pixels per step. Where there is none, nothing is said.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from statistics import median
from typing import Any

from app.jobs.store import Job, JobStore
from trainer.errors import UserError
from trainer.events import Event, Sampled, Started, Step, parse
from trainer.families.table import named_by
from trainer.plan.rates import trains_denoiser, trains_text_encoder
from trainer.plan.run import Plan
from trainer.settings import Settings

HEAD = 256 << 10
TAIL = 64 << 10
RUNS_LOOKED_AT = 30
"""Newest runs that are looked at."""
FEWEST = 8
"""Steps from which a pace can be told."""
NEAR_FACTOR = 6.0
"""Runs whose steps are more than so many times larger or smaller say nothing."""
RunKind = tuple[Any, ...]


@dataclass(frozen=True)
class Pace:
    """How fast one past run was."""

    kind: RunKind
    pixels: float
    """Pixels per step."""
    step: float
    """Seconds."""
    before: float
    """Seconds from its start to the first step: loading, preparing pictures."""
    picture: float
    """Seconds per sample picture; 0 where there was none."""


def estimate(store: JobStore, settings: Settings, plan: Plan) -> float | None:
    """Seconds that a run will take; None where no past run is like it."""
    kind, pixels = run_kind(settings), pixels_per_step(plan.as_json())
    if not pixels:
        return None
    for pace in paces(store):
        ratio = pixels / pace.pixels
        if pace.kind == kind and 1 / NEAR_FACTOR < ratio < NEAR_FACTOR:
            pictures = plan.samples * plan.sample_times
            drawing = pictures * (pace.picture or 10 * pace.step)
            return pace.before + plan.total_steps * pace.step * ratio + drawing
    return None


def run_kind(settings: Settings) -> RunKind:
    """Runs of the same kind take the same time per pixel."""
    model, machine = settings.model, settings.machine
    quick = model.model_list not in ("", "custom")
    return (
        model.model_list if quick else model.pretrained_model_name_or_path,
        named_by(model).key,
        machine.mixed_precision,
        machine.gradient_checkpointing,
        machine.num_cpu_threads_per_process,
        settings.images.cache_latents,
        trains_text_encoder(settings.optimizer),
        trains_denoiser(settings.optimizer),
    )


def pixels_per_step(plan: Mapping[str, Any]) -> float:
    """Pixels that one step learns from, by Plan.as_json()."""
    datasets = [one for one in plan.get("datasets") or [plan] if isinstance(one, Mapping)]
    batches = sum(_batches(one) for one in datasets)
    if not batches:
        return 0.0
    area = sum(_area(one) * one.get("batch_size", 1) * _batches(one) for one in datasets) / batches
    return area * plan.get("accumulation", 1)


def _buckets(dataset: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for one in dataset.get("buckets", ()) if isinstance(one, Mapping)]


def _batches(dataset: Mapping[str, Any]) -> int:
    """Per epoch."""
    return sum(one.get("batches", 0) for one in _buckets(dataset))


def _area(dataset: Mapping[str, Any]) -> float:
    """Pixels of a picture, in the mean."""
    pictures = sum(one.get("repeats_total", 0) for one in _buckets(dataset))
    area = sum(one["width"] * one["height"] * one["repeats_total"] for one in _buckets(dataset))
    return area / pictures if pictures else 0.0


def paces(store: JobStore) -> Iterator[Pace]:
    """Of past runs, newest first."""
    for job in store.jobs()[:RUNS_LOOKED_AT]:
        try:
            stat = job.folder.events_file.stat()
        except OSError:
            continue
        if time.time() - stat.st_mtime > 1 and (pace := _pace(job, stat.st_size)):
            yield pace


@lru_cache(maxsize=4 * RUNS_LOOKED_AT)
def _pace(job: Job, _size: int) -> Pace | None:
    """One run's pace, from the beginning and the end of its events."""
    try:
        settings = job.folder.settings()
        with job.folder.events_file.open("rb") as file:
            head = file.read(HEAD).splitlines()
            first = list(_parsed(line for line in head if b'"event": "step"' not in line[:24]))
            file.seek(max(0, file.seek(0, 2) - TAIL))
            last = list(_parsed(file.read().splitlines()[1:]))
    except (UserError, OSError):
        return None
    return _judged(run_kind(settings), first, last)


def _parsed(lines: Iterable[bytes]) -> Iterator[tuple[float, Event]]:
    return (found for line in lines if (found := parse(line)) is not None)


def _judged(kind: RunKind, first: list[tuple[float, Event]], last: list[tuple[float, Event]]) -> Pace | None:
    begun = next(((moment, event) for moment, event in first if isinstance(event, Started)), None)
    pairs = list(pairwise(last))
    steps = [b[0] - a[0] for a, b in pairs if isinstance(a[1], Step) and isinstance(b[1], Step)]
    drawn = [b[0] - a[0] for a, b in pairs if isinstance(b[1], Sampled)]
    pixels = pixels_per_step(begun[1].plan) if begun and isinstance(begun[1], Started) else 0.0
    if not begun or not pixels or len(steps) < FEWEST:
        return None
    before = max(0.0, begun[0] - first[0][0])
    return Pace(kind, pixels, median(steps), before, median(drawn) if drawn else 0.0)
