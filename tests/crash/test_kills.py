"""A real trainer is killed at random moments; nothing is torn, and Continue ends as if nothing had been.

Three kills by default. Sixty-eight, some of them while continuing, and with imports:
    .venv/bin/pytest -m long tests/crash -s
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.crash.trainers import (
    Reference,
    Trainer,
    check_continued,
    check_whole,
    kill_somewhere,
    settings_of_a_run,
    undisturbed,
)
from trainer.files.job_folder import PROJECT, JobFolder

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
KILLED = -9


def survive(trainer: Trainer, folder: Path, reference: Reference, seed: int, **changes: Any) -> str:
    """Kill a run (every third one twice), check what is left, continue it, compare. Where it was killed."""
    moment = random.Random(seed)
    job = JobFolder.create(folder, settings_of_a_run(folder, **changes))
    where = []
    for verb in ("job", "resume")[: 2 if seed % 3 == 2 else 1]:
        trainer.start(verb, job)
        where.append(kill_somewhere(trainer, job, moment, reference.seconds))
        ended = trainer.wait()
        assert ended in (KILLED, 0), job.log_file.read_text()
        check_whole(folder, job)
        if ended == 0:
            where[-1] = "the end"
            break
    if where[-1] != "the end":
        trainer.start("resume", job)
        assert trainer.wait() == 0, job.log_file.read_text()
    check_whole(folder, job)
    check_continued(folder, job, reference)
    return ", ".join(where)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [5, 7])
def test_a_killed_run_continues_as_if_nothing_had_been(trainer, tmp_path, reference, seed):
    survive(trainer, tmp_path, reference, seed)


@pytest.mark.slow
def test_a_killed_run_on_sdxl_continues_as_if_nothing_had_been(trainer, tmp_path, sdxl):
    whole = undisturbed(trainer, tmp_path / "whole", **sdxl)
    survive(trainer, tmp_path / "killed", whole, 8, **sdxl)


@pytest.mark.long
def test_sixty_kills(trainer, tmp_path, reference):
    places: Counter[str] = Counter()
    began = time.monotonic()
    for seed in range(100, 160):
        where = survive(trainer, tmp_path / str(seed), reference, seed)
        places.update(where.split(", "))
    print(f"\n{places.total()} kills of 60 runs in {time.monotonic() - began:.0f} s: {dict(places)}")
    assert places.total() >= 60
    assert {"save", "sample", "train", "cache_latents", "load_model"} <= set(places)


@pytest.mark.long
@pytest.mark.parametrize("seconds", [0.3, 1.5, 4.0, 7.0, 9.0, 11.0, 13.0, 16.0])
def test_kills_of_the_command_line(tmp_path, reference, seconds):
    """With imports and all, as a person starts it."""
    job = JobFolder.create(tmp_path, settings_of_a_run(tmp_path))
    words = [sys.executable, "-m", "trainer"]
    environment = {**os.environ, "LORA_ATELIER_WORKSPACE": str(tmp_path)}
    with job.log_file.open("ab") as log:
        killed = subprocess.Popen([*words, "job", str(job.path)], cwd=PROJECT, stdout=log, env=environment)
        time.sleep(seconds)
        killed.kill()
        killed.wait()
        check_whole(tmp_path, job)
        subprocess.run(
            [*words, "resume", str(job.path)], cwd=PROJECT, stdout=log, env=environment, check=True
        )
    check_continued(tmp_path, job, reference)
