"""Save now and Sample now are done after the step at work, and training goes on as if nothing was asked."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.runs import events, short_settings, trained
from trainer.events import Notice, Sampled, Saved
from trainer.files.job_folder import WISHES, JobFolder
from trainer.jobs.run import run_job

pytestmark = pytest.mark.slow


def test_what_is_asked_is_done_once_and_training_goes_on_as_before(tmp_path):
    one_step = trained(tmp_path / "one", max_train_steps=1)
    untouched = trained(tmp_path / "untouched", sample_prompts="an owl --w 64 --h 64 --s 2")
    settings = short_settings(tmp_path, sample_prompts="an owl --w 64 --h 64 --s 2")
    job = JobFolder.create(tmp_path, settings)
    for wish in WISHES:
        job.wish_file(wish).touch()
    assert run_job(job) == 0
    told = events(job)
    assert [event.step for event in told if isinstance(event, Sampled)] == [1]
    assert [event.step for event in told if isinstance(event, Saved) and event.kind == "lora"] == [1, 3]
    assert not any(job.wish_file(wish).exists() for wish in WISHES)
    saved = load_file(tmp_path / "out" / "mascot-step00000001.safetensors")
    final = load_file(tmp_path / "out" / "mascot.safetensors")
    assert all(torch.equal(saved[name], one_step[name]) for name in one_step)
    assert all(torch.equal(final[name], untouched[name]) for name in untouched)


def test_a_full_disk_at_save_now_is_told_and_ends_no_run(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainer.training.saving.Saver.save_now", full)
    job = JobFolder.create(tmp_path, short_settings(tmp_path, max_train_steps=2))
    job.wish_file("save").touch()
    assert run_job(job) == 0
    codes = [event.code for event in events(job) if isinstance(event, Notice)]
    assert "training.save_now_failed" in codes
    assert (tmp_path / "out" / "mascot.safetensors").exists()
