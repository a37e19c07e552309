"""A run is built from what the checks have read; what encodes only once is let go before the denoiser."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainer.runs import short_settings
from trainer.files.job_folder import JobFolder
from trainer.preflight.check import check
from trainer.training.build import build_parts
from trainer.training.encode import encode
from trainer.training.prepare import prepare

DRAWN = {"sample_prompts": "sks --w 64 --h 64 --s 1 --d 1", "sample_at_first": True}


def test_nothing_is_read_a_second_time_and_samples_read_the_vae_when_they_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = short_settings(tmp_path, text_encoder_lr=0, **DRAWN)
    inputs = check(settings).inputs
    assert inputs is not None

    def again(*_names: object) -> None:
        raise AssertionError("read again")

    for name in ("scans", "known_facts"):
        monkeypatch.setattr(f"trainer.plan.inputs.{name}", again)
    job = JobFolder.create(tmp_path, settings)
    parts = build_parts(inputs, job, lambda _event: None)
    assert [parts.model.holds(part) for part in ("text_encoders", "vae", "denoiser")] == [False, False, True]
    parts.sampler.draw_due(0)
    assert len(list(job.samples.glob("*.png"))) == 1
    assert [parts.model.holds(part) for part in ("text_encoders", "vae", "denoiser")] == [False, False, True]


def test_the_denoiser_is_not_in_memory_while_texts_and_pictures_are_encoded(tmp_path: Path) -> None:
    settings = short_settings(tmp_path, text_encoder_lr=0)
    inputs = check(settings).inputs
    assert inputs is not None
    run = prepare(inputs, JobFolder.create(tmp_path, settings), lambda _event: None)
    encoded = encode(run)
    assert not any(encoded.model.holds(part) for part in ("text_encoders", "vae", "denoiser"))
    assert encoded.latents is not None
