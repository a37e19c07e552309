"""Remedies after a failure: they change what they say, and the run they lead to needs less."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from app.answers import Answers
from app.jobs import remedies
from app.jobs.live import parts
from app.jobs.store import JobStore
from app.texts import words
from tests.app.conftest import ask, wait_until
from tests.trainer.runs import DEMO
from trainer.messages import LANGUAGES
from trainer.settings import Settings

MakeSettings = Callable[..., Settings]
LARGE = {
    "pretrained_model_name_or_path": str(DEMO / "model"),
    "train_data_dir": str(DEMO / "pictures"),
    "train_batch_size": 8,
    "max_resolution": "768,768",
    "cache_latents": False,
    "network_dim": 128,
    "mixed_precision": "no",
    "bucket_no_upscale": False,
}


def test_each_remedy_against_a_full_memory_needs_less(settings: MakeSettings):
    wanted = settings(**LARGE)
    now = remedies.memory_needed(wanted, {})
    found = remedies.remedies(remedies.MEMORY, "", wanted)
    assert [next(iter(one.changes)) for one in found] == [
        "gradient_checkpointing", "base_in_16_bits", "cache_latents", "mixed_precision", "train_batch_size",
        "max_resolution", "network_dim",
    ]  # fmt: skip
    for remedy in found:
        assert 0 < remedies.memory_needed(wanted, remedy.changes) < now, remedy


def test_nothing_is_proposed_that_is_so_already(settings: MakeSettings):
    small = settings(
        gradient_checkpointing=True, cache_latents=True, mixed_precision="bf16", max_resolution="256,256"
    )
    assert remedies.remedies(remedies.MEMORY, "", small) == []


def test_a_loss_that_ran_away_lowers_the_rates_that_are_set(settings: MakeSettings):
    wanted = settings(learning_rate=3e-4, unet_lr=None, text_encoder_lr=6e-5, mixed_precision="fp16")
    calmer, other = remedies.remedies("training.loss_not_finite_fp16", "learning_rate", wanted)
    assert calmer.changes == {"learning_rate": 1e-4, "text_encoder_lr": 2e-5}
    assert other.changes == {"mixed_precision": "bf16"}
    for precision in ("no", "bf16"):
        wide = settings(learning_rate=3e-4, mixed_precision=precision, max_grad_norm=0)
        _, other = remedies.remedies("training.gradient_not_finite", "learning_rate", wide)
        assert other.changes == {"max_grad_norm": 1.0}


@pytest.mark.parametrize(
    ("text", "smaller"),
    [("768,768", "640,640"), ("512", "448,448"), ("1024,768", "768,576"), ("384,384", ""), ("", "")],
)
def test_smaller_resolution(text: str, smaller: str):
    assert remedies.smaller_resolution(text) == smaller


def test_a_problem_with_a_fix_becomes_a_remedy(settings: MakeSettings):
    wanted = settings(**LARGE, color_aug=True).replace(cache_latents=True)
    [remedy] = remedies.remedies("preflight.cached_color", "cache_latents", wanted)
    assert remedy.changes
    assert all(wanted.get(key) != value for key, value in remedy.changes.items())


def test_every_price_has_its_sentence():
    prices = ("slower", "nearly", "changes", "batch", "details", "holds_less", "slower_learning", "bf16",
              "again", "anew")  # fmt: skip
    for language in LANGUAGES:
        known = {key for key in words(language) if key.startswith("remedy.price.")}
        assert known == {f"remedy.price.{price}" for price in prices}


def test_a_failed_run_continues_with_the_change(store: JobStore, settings: MakeSettings):
    job = store.start(settings("fail=12 quiet", **LARGE))
    wait_until(job, "failed")
    told = parts(job, job.record(), job.state, "en")["outcome"]
    assert told["remedies"][0]["title"] == "Turn on **Gradient checkpointing**"
    assert told["remedies"][0]["needs"] < told["memory"]["now"]
    assert told["resume"] == 10
    job.folder.write_json(job.folder.settings_file, {**job.settings(), "training_comment": "quiet"})
    assert ask(Answers(store), "act", do="continue", job=job.id, remedy=3) == {"done": True}
    assert job.settings()["train_batch_size"] == 8, "a change that needs a new start is not made here"
    wait_until(job, "finished")


def test_the_change_is_in_the_jobs_settings(store: JobStore, settings: MakeSettings):
    job = store.start(settings("fail=12 quiet"))
    wait_until(job, "failed")
    ask(Answers(store), "act", do="continue", job=job.id, remedy=0)
    wait_until(job, "failed", "finished")
    assert json.loads(job.folder.settings_file.read_text())["gradient_checkpointing"] is True
