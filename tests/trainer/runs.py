"""A short real run for tests: the demo model, a few steps, one thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from trainer.events import Event, read_events
from trainer.files.job_folder import JobFolder
from trainer.jobs.run import run_job
from trainer.settings import Settings

DEMO = Path(__file__).parents[2] / "presets" / "demo"


def short_settings(folder: Path, **changes: Any) -> Settings:
    """Settings of a run of a few seconds, with changes."""
    values: dict[str, Any] = {
        "pretrained_model_name_or_path": str(DEMO / "model"),
        "train_data_dir": str(DEMO / "pictures"),
        "output_dir": str(folder / "out"),
        "output_name": "mascot",
        "caption_extension": ".txt",
        "network_dim": 4,
        "network_alpha": 4,
        "unet_lr": 1e-3,
        "text_encoder_lr": 1e-3,
        "optimizer": "AdamW",
        "lr_scheduler": "constant",
        "train_batch_size": 2,
        "max_resolution": "64,64",
        "min_bucket_reso": 64,
        "mixed_precision": "no",
        "save_precision": "float",
        "save_every_n_epochs": 0,
        "max_train_steps": 3,
        "num_cpu_threads_per_process": 1,
        "seed": 1,
    }
    return Settings.from_flat({**values, **changes})


def run(folder: Path, **changes: Any) -> tuple[JobFolder, int]:
    """Train; the job and the exit code."""
    job = JobFolder.create(folder, short_settings(folder, **changes))
    return job, run_job(job)


def trained(folder: Path, **changes: Any) -> dict[str, Tensor]:
    """The weights that a run leaves."""
    job, code = run(folder, **changes)
    assert code == 0, job.events_file.read_text()
    return load_file(folder / "out" / "mascot.safetensors")


def events(job: JobFolder) -> list[Event]:
    """All events of a job."""
    return [event for _, _, event in read_events(job.events_file)]
