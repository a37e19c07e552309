"""For which latent space a VAE was made: by its folder's scale, by its name, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainer.families.vae import latent_space


@pytest.mark.parametrize(
    ("config", "space"),
    [
        ({"scaling_factor": 0.18215, "latent_channels": 4}, "sd"),
        ({"scaling_factor": 0.13025, "latent_channels": 4}, "sdxl"),
        ({"scaling_factor": 0.3611, "latent_channels": 16}, "other"),
        ({"scaling_factor": 0.5}, ""),
        ({}, ""),
    ],
)
@pytest.mark.parametrize("inside", ["", "vae"])
def test_a_folder_tells_it_by_its_scale(config: dict[str, float], space: str, inside: str, tmp_path: Path):
    (tmp_path / inside).mkdir(exist_ok=True)
    (tmp_path / inside / "config.json").write_text(json.dumps(config))
    assert latent_space(tmp_path) == space


@pytest.mark.parametrize("content", ["", "[", "[]"])
def test_a_folder_that_tells_nothing(content: str, tmp_path: Path):
    (tmp_path / "config.json").write_text(content)
    assert latent_space(tmp_path) == ""


def test_a_file_that_is_none_or_gone(tmp_path: Path):
    (tmp_path / "sdxl_vae.safetensors").write_bytes(b"x" * 50)
    assert latent_space(tmp_path / "sdxl_vae.safetensors") == ""
    assert latent_space(tmp_path / "gone.safetensors") == ""
