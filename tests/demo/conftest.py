"""The shipped demo model, loaded once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline


@pytest.fixture(scope="session")
def demo_folder(root: Path) -> Path:
    return root / "presets" / "demo"


@pytest.fixture(scope="session")
def pipeline(demo_folder: Path) -> StableDiffusionPipeline:
    """The demo model as any diffusers program would load it, from disk alone."""
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    return StableDiffusionPipeline.from_pretrained(demo_folder / "model", local_files_only=True)
