"""One forker for all tests of real trainers, and the run that nobody disturbed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints import random_model, write_checkpoint
from tests.crash.trainers import Reference, Trainer, trainers, undisturbed


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where those trainers keep latents."""
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="session")
def trainer(workspace: Path) -> Iterator[Trainer]:
    """Starts real trainers."""
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    with trainers(workspace) as started:
        yield started


@pytest.fixture(scope="session")
def reference(trainer: Trainer, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """A whole run with `settings_of_a_run`."""
    return undisturbed(trainer, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="session")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What makes it a run on a tiny SDXL whose texts are kept on disk."""
    torch.manual_seed(0)
    path = write_checkpoint(tmp_path_factory.mktemp("xl") / "tiny_xl.safetensors", random_model("sdxl"))
    cached = {"text_encoder_lr": 0, "sdxl_cache_text_encoder_outputs": True}
    return {"pretrained_model_name_or_path": str(path), "sdxl": True, **cached}
