"""What nights bring, done to real trainers: each fault ends in a sentence, and nothing saved is harmed.

docs/faults.md is the table of them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.crash.trainers import (
    Reference,
    Trainer,
    check_continued,
    check_whole,
    lora_files,
    settings_of_a_run,
    told,
    wait_for,
)
from tests.trainer.runs import DEMO
from trainer.events import Event, Failed, Finished, Notice, Saved, Step
from trainer.files.job_folder import JobFolder, find_state
from trainer.jobs.run import DONE, USER
from trainer.messages import LANGUAGES, Message, say
from trainer.settings import TRAINING
from trainer.training.state import load_state

pytestmark = pytest.mark.slow


def new_job(folder: Path, **changes: Any) -> JobFolder:
    return JobFolder.create(folder, settings_of_a_run(folder, **changes))


def failure(job: JobFolder, code: str) -> Failed:
    """The job's last word: this failure, said in both languages, without a traceback in the log."""
    last = told(job)[-1]
    assert isinstance(last, Failed), last
    assert last.code == code, last
    for language in LANGUAGES:
        said = say(Message(last.code, last.values), language)
        assert said.what
        assert said.fix
        assert "{" not in str(said)
    assert "Traceback" not in job.log_file.read_text()
    return last


def notices(job: JobFolder) -> list[str]:
    return [event.code for event in told(job) if isinstance(event, Notice)]


def saved(event: Event, kind: str = "lora") -> bool:
    return isinstance(event, Saved) and event.kind == kind


def test_disk_full_while_saving(trainer: Trainer, tmp_path: Path, reference: Reference):
    """No file may grow beyond 300 kB: neither the LoRA nor the states fit."""
    job = new_job(tmp_path)
    assert trainer.train("job", job, fsize=300_000) == USER, job.log_file.read_text()
    last = failure(job, "training.disk_full")
    assert last.values["path"].endswith("mascot-step00000002.safetensors")
    assert last.setting == "output_dir"
    assert "training.safety_failed" in notices(job)
    assert list((tmp_path / "out").iterdir()) == []
    check_whole(tmp_path, job)
    assert trainer.train("resume", job) == DONE, "once there is room"
    check_continued(tmp_path, job, reference)


def test_disk_full_for_a_file_of_the_other_kind(trainer: Trainer, tmp_path: Path):
    """torch itself says RuntimeError."""
    job = new_job(tmp_path, save_model_as="ckpt", safety_state_minutes=0)
    assert trainer.train("job", job, fsize=300_000) == USER
    assert failure(job, "training.disk_full").values["path"].endswith(".ckpt")
    assert list((tmp_path / "out").iterdir()) == []


def test_disk_full_while_logging(trainer: Trainer, tmp_path: Path, reference: Reference):
    """The job folder's disk is full, the Output folder's is not: the run ends well."""
    job = new_job(tmp_path)
    for file in (job.events_file, job.log_file):
        file.symlink_to("/dev/full")
    assert trainer.train("job", job) == DONE
    files = lora_files(tmp_path)
    assert files.keys() == reference.files.keys()


def test_latents_that_cannot_be_kept(trainer: Trainer, workspace: Path, tmp_path: Path, reference: Reference):
    """A file stands where the folder of latents should be: told, and trained all the same."""
    latents, aside = workspace / "latents", workspace / "aside"
    latents.rename(aside)
    latents.write_text("in the way")
    try:
        job = new_job(tmp_path)
        assert trainer.train("job", job) == DONE
        assert "training.latents_not_kept" in notices(job)
        check_continued(tmp_path, job, reference)
    finally:
        latents.unlink()
        aside.rename(latents)


def test_output_folder_gone(trainer: Trainer, tmp_path: Path, reference: Reference):
    """The drive is pulled out while it trains, and something else stands in its place."""
    job = new_job(tmp_path)
    trainer.start("job", job)
    wait_for(lambda: any(saved(event) for event in told(job)))
    (tmp_path / "out").rename(tmp_path / "pulled out")
    (tmp_path / "out").write_text("a file")
    assert trainer.wait() == USER
    last = failure(job, "training.file_error")
    assert str(tmp_path / "out") in last.values["path"]
    state = find_state(job.safety_state)
    assert state, "what was learned is kept"
    done = max(event.step for event in told(job) if isinstance(event, Step))
    assert load_state(state)[0].step == done
    (tmp_path / "out").unlink()
    (tmp_path / "pulled out").rename(tmp_path / "out")
    assert trainer.train("resume", job) == DONE
    check_continued(tmp_path, job, reference)


def test_output_folder_read_only(trainer: Trainer, tmp_path: Path):
    job = new_job(tmp_path)
    trainer.start("job", job, mortal=1)
    wait_for(lambda: any(saved(event) for event in told(job)))
    kept = lora_files(tmp_path)
    (tmp_path / "out").chmod(0o555)
    assert trainer.wait() == USER, job.log_file.read_text()
    (tmp_path / "out").chmod(0o755)
    assert failure(job, "training.no_permission").setting == "output_dir"
    assert lora_files(tmp_path).keys() == kept.keys()
    assert find_state(job.safety_state)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_becomes_unreadable(trainer: Trainer, tmp_path: Path, workers: int):
    """In the middle of the run, read by the trainer itself and by a process of its own."""
    shutil.copytree(DEMO / "pictures", tmp_path / "img")
    job = new_job(
        tmp_path,
        train_data_dir=str(tmp_path / "img"),
        cache_latents=False,
        cache_latents_to_disk=False,
        max_data_loader_n_workers=workers,
        max_train_steps=100,
        sample_every_n_steps=0,
        sample_at_first=False,
    )
    trainer.start("job", job)
    wait_for(lambda: any(isinstance(event, Step) for event in told(job)))
    for path in (tmp_path / "img").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:100])
    assert trainer.wait() == USER
    last = failure(job, "pictures.unreadable")
    assert last.values["path"].endswith(".png")
    assert last.setting == "train_data_dir"
    state = find_state(job.safety_state)
    assert state
    done = max(event.step for event in told(job) if isinstance(event, Step))
    assert load_state(state)[0].step == done


def test_weights_that_blow_up(trainer: Trainer, tmp_path: Path):
    """A learning rate of millions: it stops before the numbers do harm, and says which settings to lower."""
    job = new_job(tmp_path, unet_lr=1000, text_encoder_lr=1000, max_train_steps=40, lr_scheduler="constant")
    assert trainer.train("job", job) == USER
    last = told(job)[-1]
    assert isinstance(last, Failed)
    failure(job, last.code)
    assert last.code in {"training.loss_not_finite", "training.gradient_not_finite"}
    assert TRAINING[last.setting].spec.label == "Learning rate"
    said = str(say(Message(last.code)))  # it computes in float32: no other format helps
    assert "16" not in said
    state = find_state(job.safety_state)
    assert state
    assert all(tensor.isfinite().all() for tensor in load_state(state)[1].values())
    assert not any(isinstance(event, Finished) for event in told(job))


def test_memory_runs_out(trainer: Trainer, tmp_path: Path):
    """The process may have 300 MB more than the libraries take: the model fits, pictures so large do not."""
    job = new_job(tmp_path, max_resolution="2048,2048", bucket_no_upscale=False)
    assert trainer.train("job", job, memory=300_000_000) == USER, job.log_file.read_text()
    last = told(job)[-1]
    assert isinstance(last, Failed)
    assert last.code == "training.out_of_memory"
    assert last.setting == "train_batch_size"
