"""The run that drew a picture is found by what stands in the picture, whatever the file is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.answers.runs import RunAnswers
from app.jobs.store import JobStore
from trainer.files.job_folder import JobFolder
from trainer.plan.sample_prompts import SamplePrompt
from trainer.plan.sample_text import LORA, RUN, STEP, picture_text
from trainer.settings import Settings


@pytest.fixture
def answers(tmp_path: Path) -> RunAnswers:
    return RunAnswers(JobStore(tmp_path))


def test_a_sample_leads_to_its_run_and_a_trial_too(answers: RunAnswers, tmp_path: Path):
    job = JobFolder.create(tmp_path, Settings.from_flat({"output_name": "owl, the"}))
    about = {LORA: "owl, the", RUN: job.path.name}
    sample = picture_text(SamplePrompt("a cat", "bad", 512, 512), 1, "euler_a", {**about, STEP: 40})
    told = answers.run_of_sample({"text": sample})
    assert (told["job"], told["step"], told["made"]) == (job.path.name, "40", sample)
    trial = answers.run_of_sample(
        {"text": picture_text(SamplePrompt("a cat", "", 512, 512), 1, "ddim", about)}
    )
    assert (trial["job"], trial["step"]) == (job.path.name, "")


@pytest.mark.parametrize("run", ["", "20200101-000000-gone", "..", "../jobs"])
def test_a_picture_of_others_only_says_how_it_was_made(answers: RunAnswers, run: str):
    text = picture_text(SamplePrompt("a cat", "", 512, 512), 1, "euler", {RUN: run} if run else {})
    assert answers.run_of_sample({"text": text}) == {"job": "", "made": text}


@pytest.mark.parametrize("text", [None, 3, "", "words", "Run: x", "[1]"])
def test_a_picture_that_says_nothing(answers: RunAnswers, text: object):
    assert answers.run_of_sample({"text": text}) == {"job": "", "made": ""}
