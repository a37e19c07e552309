"""Try it: the process answers, is kept for the next prompt, and makes room for a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.jobs.store import Job, JobStore
from app.jobs.try_it import ENDED, TryIt
from tests.app.conftest import wait_for, wait_until
from trainer.settings import Settings

MakeSettings = Callable[..., Settings]
WISH = {"file": "mascot.safetensors", "strength": 0.6, "seed": 1, "width": 64, "height": 64, "steps": 4}


@pytest.fixture
def easel(store: JobStore) -> Iterator[TryIt]:
    made = TryIt(store)
    yield made
    made.end()


@pytest.fixture
def job(store: JobStore, settings: MakeSettings) -> Job:
    made = store.start(settings("quiet"))
    wait_until(made, "finished")
    return made


def drawn(easel: TryIt, job: Job, prompt: str, **values: object) -> dict[str, Any]:
    """The end of one wish."""
    told = easel.ask({**WISH, "job": job.id, "prompt": prompt, **values})
    assert "id" in told, told
    wait_for(lambda: easel.look({"id": told["id"]})["state"] in ENDED)
    return easel.look({"id": told["id"], "lang": "en"})


def process_of(easel: TryIt):
    return easel._process


def test_two_pictures_from_one_process(easel: TryIt, job: Job):
    first = drawn(easel, job, "a cat")
    process = process_of(easel)
    second = drawn(easel, job, "a dog")
    assert process_of(easel) is process, "the model stays loaded"
    assert first["state"] == second["state"] == "done"
    assert set(first["pictures"]) == {"base", "lora"}
    assert first["pictures"] != second["pictures"]


def test_an_error_is_said_in_words_and_the_process_stays(easel: TryIt, job: Job):
    told = drawn(easel, job, "fail")
    assert told["error"]["what"] == "Memory ran out while drawing."
    assert drawn(easel, job, "a cat")["state"] == "done"


def test_a_process_that_dies_is_said_and_begun_anew(easel: TryIt, job: Job):
    told = drawn(easel, job, "crash")
    assert "ended without a word" in told["error"]["what"]
    assert drawn(easel, job, "a cat")["state"] == "done"


def test_a_training_ends_the_drawing(easel: TryIt, job: Job, store: JobStore, settings: MakeSettings):
    number = easel.ask({**WISH, "job": job.id, "prompt": "slow"})["id"]
    process = process_of(easel)
    assert process
    training = store.start(settings("seconds=0.2", max_train_steps=500))
    assert "training has begun" in easel.look({"id": number})["error"]["what"]
    wait_for(lambda: process.poll() is not None)
    refused = easel.ask({**WISH, "job": job.id, "prompt": "a cat", "lang": "en"})
    assert "training is running" in refused["error"]["what"]
    training.kill()


def test_a_new_wish_replaces_the_one_at_work(easel: TryIt, job: Job):
    number = easel.ask({**WISH, "job": job.id, "prompt": "slow"})["id"]
    easel.ask({**WISH, "job": job.id, "prompt": "a cat"})
    assert easel.look({"id": number})["state"] == "cancelled"


@pytest.mark.parametrize("file", ["../mascot.safetensors", "/etc/passwd", "other.safetensors", ""])
def test_only_files_of_the_run_are_tried(easel: TryIt, job: Job, file: str):
    assert "error" in easel.ask({**WISH, "job": job.id, "prompt": "a cat", "file": file})
    assert process_of(easel) is None


@pytest.mark.parametrize("bad", [None, [], "x", {"id": "1"}, {"id": []}, {"job": 5, "file": None}])
def test_any_request_is_answered(easel: TryIt, bad: object):
    assert "error" in easel.ask(bad)
    assert easel.look(bad) == {"state": "cancelled"}
    assert easel.cancel(bad) == {}
