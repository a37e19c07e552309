"""A finished job goes on as the same job: its curve, files and samples continue, and its LoRA is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.answers.runs import RunAnswers
from app.jobs.store import KEPT_STATES
from tests.app.conftest import wait_for, wait_until
from trainer.files.job_folder import find_state


@pytest.fixture
def finished(store, settings):
    job = store.start(settings(sample_prompts="an owl"))
    wait_until(job, "finished")
    return job


def test_a_finished_job_goes_on_under_its_own_name(store, finished):
    answers, out = RunAnswers(store), Path(finished.settings()["output_dir"])
    first = (out / "mascot.safetensors").read_bytes()
    offer = answers.live({"lang": "en"})["parts"]["outcome"]["extend"]
    assert offer == {"unit": "steps", "done": 20, "more": 10}
    assert answers.act({"do": "extend", "job": finished.id, "more": 15}) == {"done": True}
    wait_for(lambda: (store.tend(), finished.state == "finished")[1])
    record = finished.record()
    assert list(record.curves.steps) == list(range(1, 36))
    assert record.total == 35
    assert (out / "mascot-step00000020.safetensors").read_bytes() == first
    names = [Path(file.path).name for file in record.lora_files()]
    assert names[-1] == "mascot.safetensors"
    assert "mascot-step00000020.safetensors" in names
    assert {step for step, _ in record.samples} > {0, 20, 35}
    assert len(store.jobs()) == 1
    log = answers.live({"lang": "en"})["log"]["lines"]
    assert any("Goes on for 15 steps more." in text for _, _, text in log)


@pytest.mark.parametrize("more", [0, -3, None, "ten", 1.5, True, 10**9])
def test_no_other_number_is_taken(store, finished, more):
    told = RunAnswers(store).act({"do": "extend", "job": finished.id, "more": more, "lang": "en"})
    assert told["error"]["what"].startswith("Type a whole number from 1 to 1,000,000")
    assert finished.state == "finished"
    assert finished.settings()["max_train_steps"] == 20


def test_without_its_state_a_job_cannot_go_on_and_says_so(store, finished):
    finished.folder.forget_state()
    answers = RunAnswers(store)
    assert answers.live({"lang": "en"})["parts"]["outcome"]["extend"] is None
    assert (
        "training state is gone"
        in answers.act({"do": "extend", "job": finished.id, "more": 3})["error"]["what"]
    )
    assert finished.state == "finished"


def test_the_newest_finished_jobs_keep_their_state(store, settings):
    jobs = []
    for number in range(KEPT_STATES + 2):
        jobs.append(store.start(settings("quiet", output_name=f"job{number}")))
        wait_until(jobs[-1], "finished")
    kept = [bool(find_state(job.folder.safety_state)) for job in store.jobs()]
    assert sum(kept) == KEPT_STATES + 1, "one more has ended since"
