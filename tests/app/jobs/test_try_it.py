"""Try it: the process answers, is kept for the next prompt, and makes room for a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.answers import Answers
from app.jobs.store import Job, JobStore
from app.jobs.try_it import ENDED
from tests.app.conftest import ask, wait_for, wait_until
from trainer.settings import Settings

MakeSettings = Callable[..., Settings]
WISH = {"file": "mascot.safetensors", "strength": 0.6, "seed": 1, "width": 64, "height": 64, "steps": 4}


@pytest.fixture
def answers(store: JobStore) -> Iterator[Answers]:
    made = Answers(store)
    yield made
    made.runs.easel.end()


@pytest.fixture
def job(store: JobStore, settings: MakeSettings) -> Job:
    made = store.start(settings("quiet"))
    wait_until(made, "finished")
    return made


def wished(answers: Answers, job: Job, prompt: str, **values: Any) -> dict[str, Any]:
    return ask(answers, "try_ask", **{**WISH, "job": job.id, "prompt": prompt, **values})


def drawn(answers: Answers, job: Job, prompt: str) -> dict[str, Any]:
    """The end of one wish."""
    number = wished(answers, job, prompt)["id"]
    wait_for(lambda: ask(answers, "try_look", id=number)["state"] in ENDED)
    return ask(answers, "try_look", id=number)


def process_of(answers: Answers):
    return answers.runs.easel._process


def test_two_pictures_from_one_process(answers: Answers, job: Job):
    first = drawn(answers, job, "a cat")
    process = process_of(answers)
    second = drawn(answers, job, "a dog")
    assert process_of(answers) is process, "the model stays loaded"
    assert first["state"] == second["state"] == "done"
    assert set(first["pictures"]) == {"base", "lora"}
    assert first["pictures"] != second["pictures"]


def test_the_process_is_begun_before_the_first_wish_and_answers_it(answers: Answers, job: Job):
    file = WISH["file"]
    assert ask(answers, "try_warm", job=job.id, file=file) == {}
    process = process_of(answers)
    assert process
    assert ask(answers, "try_warm", job=job.id, file=file) == {}
    assert drawn(answers, job, "a cat")["state"] == "done"
    assert process_of(answers) is process


def test_an_error_is_said_in_words_and_the_process_stays(answers: Answers, job: Job):
    told = drawn(answers, job, "fail")
    assert told["problem"]["what"] == "Memory ran out while drawing."
    assert drawn(answers, job, "a cat")["state"] == "done"


def test_a_process_that_dies_is_said_and_begun_anew(answers: Answers, job: Job):
    told = drawn(answers, job, "crash")
    assert "ended without a word" in told["problem"]["what"]
    assert drawn(answers, job, "a cat")["state"] == "done"


def test_a_training_ends_the_drawing(answers: Answers, job: Job, store: JobStore, settings: MakeSettings):
    number = wished(answers, job, "slow")["id"]
    process = process_of(answers)
    assert process
    training = store.start(settings("seconds=0.2", max_train_steps=500))
    assert "training has begun" in ask(answers, "try_look", id=number)["problem"]["what"]
    wait_for(lambda: process.poll() is not None)
    refused = wished(answers, job, "a cat")
    assert "training is running" in refused["error"]["what"]
    training.kill()


def test_a_new_wish_replaces_the_one_at_work(answers: Answers, job: Job):
    number = wished(answers, job, "slow")["id"]
    wished(answers, job, "a cat")
    assert ask(answers, "try_look", id=number)["state"] == "cancelled"


@pytest.mark.parametrize("file", ["../mascot.safetensors", "/etc/passwd", "other.safetensors", ""])
def test_only_files_of_the_run_are_tried(answers: Answers, job: Job, file: str):
    assert "error" in wished(answers, job, "a cat", file=file)
    assert process_of(answers) is None


@pytest.mark.parametrize("bad", [None, [], "x", {"id": "1"}, {"id": []}, {"job": 5, "file": None}])
def test_any_request_is_answered(answers: Answers, bad: Any):
    assert answers.questions["try_ask"](bad)["error"]["what"]
    assert answers.questions["try_look"](bad) == {"state": "cancelled"}
    assert answers.questions["try_cancel"](bad) == {}
