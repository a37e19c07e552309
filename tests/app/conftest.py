"""A workspace whose trainer is tests/app/fake_trainer.py: real processes, no model."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.answers import Answers
from app.jobs.store import Job, JobStore
from trainer.settings import Settings

FAKE = (sys.executable, str(Path(__file__).parent / "fake_trainer.py"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    """A job store in a fresh workspace; what still runs at the end is ended."""
    made = JobStore(tmp_path / "workspace", FAKE)
    yield made
    made.close()
    for job in made.jobs():
        if job.state == "running":
            job.kill()


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a run of the fake trainer; `how` is its training_comment."""

    def make(how: str = "", **values: object) -> Settings:
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        flat = {
            "output_dir": str(out),
            "output_name": "mascot",
            "max_train_steps": 20,
            "training_comment": how,
        }
        return Settings.from_flat({**flat, **values})

    return make


def ask(answers: Answers, question: str, **request: Any) -> dict[str, Any]:
    """A question as the page's script asks it."""
    return answers.questions[question]({"lang": "en", "browser": "0123456789abcdef" * 2, **request})


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until a condition holds; fails the test when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def wait_until(job: Job, *states: str, seconds: float = 60) -> None:
    """Wait until a job is in one of these states."""
    wait_for(lambda: job.state in states, seconds)
