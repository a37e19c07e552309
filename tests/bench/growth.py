"""How what it costs grows: python -m tests.bench.growth [CURVE…].

Curves: pictures, steps, jobs, tabs, rank, resolution, length. Processor seconds, measured in this process or,
where a training or a first look is meant, in one of its own. The last column is the power with which the cost
grows from a line to the next: 1 is linear.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from app.jobs import live
from app.jobs.glance import glance
from app.jobs.store import JobStore
from tests.bench.live_view import step_event
from tests.bench.rows import make_pictures
from tests.bench.trainings import ROOT, Case, Figures, Place, finished, ours
from tests.checkpoints import random_model, write_checkpoint
from trainer.events import EventLog, Finished, Started
from trainer.files.job_folder import JobFolder
from trainer.settings import Settings

Point = tuple[int, Figures]


def pictures(folder: Path) -> Iterator[Point]:
    """A folder looked at for the first time, and again."""
    first = make_pictures(folder / "one", 512, 1) / "1_thing" / "0.png"
    for count in (100, 1_000, 10_000, 100_000):
        place = folder / str(count) / "1_thing"
        place.mkdir(parents=True)
        for number in range(count):
            os.link(first, place / f"{number}.png")
            os.link(first.with_suffix(".txt"), place / f"{number}.txt")
        words = [str(Path(__file__).with_name("many_pictures.py")), "ours", str(place.parent)]
        printed = finished(words, folder, ROOT, threads=1)
        yield count, json.loads(printed.strip().splitlines()[-1])


def job_of(workspace: Path, steps: int) -> JobFolder:
    """A job that has ended after so many steps."""
    folder = JobFolder.create(workspace, Settings.from_flat({"output_name": "long", "unet_lr": 1e-4}))
    log = EventLog(folder.events_file)
    log.emit(Started(steps, 10, 1, "CPU", {}, 0, 1 << 34))
    for step in range(1, steps + 1):
        log.emit(step_event(step))
    log.emit(Finished(steps, ""))
    log.close()
    return folder


def took(work: Callable[[], object]) -> float:
    """Processor seconds of a piece of work."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def cursor_after(answer: Mapping[str, Any]) -> dict[str, Any]:
    """With what a browser asks next (assets/live_view.js)."""
    return {
        "job": answer["job"],
        "key": answer["key"],
        "point": answer["curve"]["at"],
        "line": answer["log"]["at"],
        "version": answer["parts"]["version"],
    }


def steps(folder: Path) -> Iterator[Point]:
    """The live view's first answer about a job, and its later ones."""
    for count in (100, 1_000, 10_000, 100_000):
        workspace = folder / str(count)
        workspace.mkdir()
        job_of(workspace, count)
        store = JobStore(workspace)
        answers = [live.answer(store, {})]
        first = took(lambda store=store: live.answer(JobStore(store.workspace), {}))
        cursor = cursor_after(answers[0])
        again = took(lambda store=store, cursor=cursor: live.answer(store, cursor))
        yield count, {"first_cpu": first, "again_cpu": again}


def jobs(folder: Path) -> Iterator[Point]:
    """The list of past runs, and the live view's answer beside so many jobs."""
    store = JobStore(folder)
    made = 0
    for count in (1, 10, 100, 1_000):
        for _ in range(made, count):
            job_of(folder, 20)
        made = count
        listed = took(lambda: [glance(job, "en") for job in store.jobs()])
        live.answer(store, {})
        yield count, {"listed_cpu": listed, "asked_cpu": took(lambda: live.answer(store, {}))}


def tabs(folder: Path) -> Iterator[Point]:
    """A second of the live view in so many tabs."""
    job_of(folder, 10_000)
    store = JobStore(folder)
    cursor = cursor_after(live.answer(store, {}))
    for count in (1, 5, 10, 20):
        yield (
            count,
            {"second_cpu": took(lambda count=count: [live.answer(store, cursor) for _ in range(count)])},
        )


def _tiny(folder: Path, side: int) -> Place:
    checkpoint = folder / "tiny.safetensors"
    if not checkpoint.exists():
        write_checkpoint(checkpoint, random_model("sd1"))
    return Place(checkpoint, make_pictures(folder / f"pictures {side}", side), side=side)


def rank(folder: Path) -> Iterator[Point]:
    """A step of the tiny model by the LoRA's rank."""
    place = _tiny(folder, 64)
    for dim in (4, 16, 64, 256):
        yield dim, ours(Case("", "no", steps=8, changes={"network_dim": dim}), place)


def resolution(folder: Path) -> Iterator[Point]:
    """A step of the tiny model by a picture's pixels: attention grows with their square."""
    for side in (64, 128, 256, 512):
        yield side * side, ours(Case("", "no", steps=5), _tiny(folder, side))


def length(folder: Path) -> Iterator[Point]:
    """A training's memory by its steps."""
    place = _tiny(folder, 64)
    for count in (20, 100, 500):
        yield count, ours(Case("", "no", steps=count), place)


CURVES = (pictures, steps, jobs, tabs, rank, resolution, length)
SHOWN = (
    "looked_cpu", "again_cpu", "first_cpu", "listed_cpu", "asked_cpu", "second_cpu", "step_cpu", "peak_gb",
)  # fmt: skip


def show(curve: Callable[[Path], Iterator[Point]]) -> None:
    """Measure a curve and print it line by line."""
    before: Point | None = None
    with tempfile.TemporaryDirectory() as folder:
        for x, figures in curve(Path(folder).resolve()):
            for name in SHOWN:
                if name in figures:
                    power = ""
                    if before and min(figures[name], before[1][name]) > 0:
                        power = f"{math.log(figures[name] / before[1][name]) / math.log(x / before[0]):.2f}"
                    print(f"| {curve.__name__} {x:,} | {name} | {figures[name]:.4f} | {power} |", flush=True)
            before = x, figures


def main() -> None:
    """Measure and print the curves that are named, or all."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    print(f"load {os.getloadavg()[0]:.1f}\n\n| what | figure | | power |\n|---|---|---|---|")
    for curve in CURVES:
        if curve.__name__ in sys.argv[1:] or not sys.argv[1:]:
            show(curve)


if __name__ == "__main__":
    main()
