"""A finished run that is extended learns what it would have learned in one go."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.runs import events, run, trained
from trainer.events import Notice, Saved, Started
from trainer.files.job_folder import find_state
from trainer.jobs.run import run_job

pytestmark = pytest.mark.slow


def test_two_steps_and_two_more_are_four(tmp_path):
    in_one_go = trained(tmp_path / "four", max_train_steps=4)
    job, code = run(tmp_path, max_train_steps=2)
    assert code == 0
    assert find_state(job.safety_state)
    before = job.events_file.read_bytes()
    assert run_job(job, resume=True) != 0, "complete, unless someone asks for more"
    assert job.events_file.read_bytes() == before
    job.write_settings(job.settings().replace(max_train_steps=4))
    log = job.event_log()
    log.emit(Notice("training.extended_steps", {"more": "2"}))
    log.close()
    assert run_job(job, resume=True) == 0
    extended = load_file(tmp_path / "out" / "mascot.safetensors")
    assert all(torch.equal(extended[name], in_one_go[name]) for name in in_one_go)
    told = events(job)
    assert [event.first_step for event in told if isinstance(event, Started)] == [0, 2]
    assert [event.step for event in told if isinstance(event, Saved) and event.kind == "lora"] == [2, 4]


def test_no_state_is_kept_where_none_is_wanted(tmp_path):
    job, code = run(tmp_path, max_train_steps=1, safety_state_minutes=0)
    assert code == 0
    assert find_state(job.safety_state) is None
