"""A DyLoRA's smaller file is made from the page, listed among the run's files and served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from app.answers import Answers
from app.jobs.files import result_file
from app.jobs.outcome import files_of
from app.jobs.store import Job, JobStore
from tests.app.conftest import ask, wait_until
from trainer.settings import Settings

MakeSettings = Callable[..., Settings]
NAME = "lora_unet_mid_block_attentions_0_proj_in"


@pytest.fixture
def job(store: JobStore, settings: MakeSettings, tmp_path: Path) -> Job:
    """A run whose file is a DyLoRA of rank 8 in groups of 2."""
    made = store.start(settings("quiet"))
    wait_until(made, "finished")
    tensors = {
        f"{NAME}.lora_down.weight": np.arange(8 * 16, dtype="f4").reshape(8, 16),
        f"{NAME}.lora_up.weight": np.arange(16 * 8, dtype="f4").reshape(16, 8),
        f"{NAME}.alpha": np.array(4, "f4"),
    }
    dylora = {"ss_network_module": "networks.dylora", "ss_network_args": '{"unit": "2"}'}
    save_file(tensors, tmp_path / "out" / "mascot.safetensors", dylora)
    return made


def test_the_card_offers_the_ranks_inside(store: JobStore, job: Job):
    told = ask(Answers(store), "explain", job=job.id, file="mascot.safetensors", lang="en")
    assert told["smaller"] == [2, 4, 6]


def test_a_smaller_file_is_made_listed_and_served(store: JobStore, job: Job, tmp_path: Path):
    told = ask(Answers(store), "make_smaller", job=job.id, file="mascot.safetensors", rank=4)
    assert told["name"] == "mascot-rank4.safetensors"
    assert told["name"] in [row.get("name") for row in files_of(job, job.record())]
    path = result_file(job, job.record(), told["name"])
    assert path
    assert path == tmp_path / "out" / told["name"]
    assert load_file(path)[f"{NAME}.lora_down.weight"].shape == (4, 16)


def test_files_of_others_are_not_the_runs(store: JobStore, job: Job, tmp_path: Path):
    for name in ("other-rank4.safetensors", "mascot-rankX.safetensors", "mascot-rank4.txt"):
        (tmp_path / "out" / name).write_bytes(b"x")
        assert result_file(job, job.record(), name) is None


@pytest.mark.parametrize("rank", [8, 3, 0, "4", None])
def test_a_rank_that_is_not_inside_is_an_error_in_words(store: JobStore, job: Job, rank: object):
    assert ask(Answers(store), "make_smaller", job=job.id, file="mascot.safetensors", rank=rank)["error"]
