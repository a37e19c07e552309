"""A workspace whose trainer is tests/app/fake_trainer.py: real processes, no model."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.answers import Answers
from app.form import values as form
from app.jobs.store import Job, JobStore
from app.paths import Roots
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


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six pictures in two sizes, four with captions."""
    folder = tmp_path / "data" / "3_cat"
    folder.mkdir(parents=True)
    for number in range(6):
        size = (128, 128) if number < 4 else (192, 96)
        Image.new("RGB", size, (number * 40, 90, 120)).save(folder / f"{number}.png")
        if number < 4:
            (folder / f"{number}.txt").write_text("cat", encoding="utf-8")
    return tmp_path / "data"


@pytest.fixture
def values(pictures: Path, tmp_path: Path, root: Path) -> dict:
    """A form that is ready to train."""
    (tmp_path / "out").mkdir()
    own = {
        "pretrained_model_name_or_path": str(root / "presets" / "demo" / "model"),
        "train_data_dir": str(pictures), "output_dir": str(tmp_path / "out"), "output_name": "cat",
        "caption_extension": ".txt", "max_resolution": "128,128", "mixed_precision": "no", "epoch": 2,
        "optimizer": "AdamW",
    }  # fmt: skip
    return {**form.shown_values({}), **own}


@pytest.fixture
def answers(store, tmp_path: Path) -> Answers:
    return Answers(store, Roots((tmp_path.resolve(),)))


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
