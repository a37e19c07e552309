"""Stop, pressed in every phase of a real run: what was learned is kept, and Continue ends the same run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.trainers import (
    Reference,
    Trainer,
    check_continued,
    check_whole,
    lora_files,
    phases,
    settings_of_a_run,
    told,
    wait_for,
)
from trainer.events import Phase, Saved, Started, Step, Stopped
from trainer.files.job_folder import PROJECT, JobFolder, find_state
from trainer.jobs.run import STOPPED

BEFORE = ("start", "read_images", "load_model", "cache_latents", "sample")


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["load_model", "cache_latents", "sample", "train", "save"])
def test_stop_in_a_phase(trainer: Trainer, tmp_path: Path, reference: Reference, phase: str):
    job = JobFolder.create(tmp_path, settings_of_a_run(tmp_path))
    trainer.start("job", job)
    wait_for(lambda: phase in phases(job))
    job.stop_file.touch()
    assert trainer.wait() == STOPPED, job.log_file.read_text()
    check_whole(tmp_path, job)
    last = told(job)[-1]
    assert isinstance(last, Stopped)
    steps = [event.step for event in told(job) if isinstance(event, Step)]
    assert last.step == max(steps, default=0)
    if phase in BEFORE:
        assert last == Stopped(0)
        assert not lora_files(tmp_path)
    else:
        assert Path(last.path).name in lora_files(tmp_path)
        assert find_state(job.safety_state)
        if Path(last.path).name not in reference.files:
            Path(last.path).unlink()
    job.stop_file.unlink()
    assert trainer.train("resume", job) == 0
    check_continued(tmp_path, job, reference)


@pytest.mark.slow
def test_stop_before_a_continued_run_has_learned_more(trainer: Trainer, tmp_path: Path, reference: Reference):
    """It stands where it stood, with the file that it had."""
    job = JobFolder.create(tmp_path, settings_of_a_run(tmp_path))
    trainer.start("job", job)
    wait_for(lambda: any(isinstance(event, Saved) and event.step >= 2 for event in told(job)))
    trainer.kill()
    trainer.wait()
    before = max(event.step for event in told(job) if isinstance(event, Saved))
    loras = [event.path for event in told(job) if isinstance(event, Saved) and event.kind == "lora"]
    job.stop_file.touch()
    assert trainer.train("resume", job) == STOPPED
    assert told(job)[-1] == Stopped(before, loras[-1])
    job.stop_file.unlink()
    assert trainer.train("resume", job) == 0
    check_continued(tmp_path, job, reference)


@pytest.mark.slow
def test_ctrl_c_is_stop_and_a_second_one_ends_at_once(tmp_path: Path):
    """The command line as a person uses it, imports and all; the first step takes long."""
    job = JobFolder.create(tmp_path, settings_of_a_run(tmp_path, train_batch_size=60, sample_at_first=False))
    words = [sys.executable, "-m", "trainer", "job", str(job.path)]
    environment = {**os.environ, "LORA_ATELIER_WORKSPACE": str(tmp_path)}
    with job.log_file.open("ab") as log:
        process = subprocess.Popen(words, cwd=PROJECT, stdout=log, stderr=log, env=environment)
    wait_for(lambda: "train" in phases(job))
    process.send_signal(signal.SIGINT)
    wait_for(job.stop_file.exists)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == STOPPED, job.log_file.read_text()
    assert isinstance(told(job)[-1], Stopped)
    assert not [event for event in told(job) if isinstance(event, (Saved, Step))], "nothing waited for"
    assert "Traceback" not in job.log_file.read_text()


@pytest.mark.slow
def test_stop_while_libraries_load_ends_the_process(tmp_path: Path):
    job = JobFolder.create(tmp_path, settings_of_a_run(tmp_path))
    words = [sys.executable, "-m", "trainer", "job", str(job.path)]
    with job.log_file.open("ab") as log:
        process = subprocess.Popen(words, cwd=PROJECT, stdout=log, stderr=log)
    wait_for(lambda: phases(job) == ["start"])
    job.stop_file.touch()
    assert process.wait(120) == STOPPED
    assert [type(event) for event in told(job)] == [Phase, Stopped]
    assert not any(isinstance(event, Started) for event in told(job))
