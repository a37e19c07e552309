"""Which weights the settings of the tab "Source model" bring into a run."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest
import torch
from torch import nn

from tests.checkpoints import load_model, random_model, write_checkpoint
from tests.trainer.looks import CPU, base_model, quiet
from tests.trainer.runs import DEMO, short_settings
from trainer.files.job_folder import JobFolder
from trainer.models.sd import StableDiffusion
from trainer.network.targets import plan_targets
from trainer.plan.inputs import read_inputs
from trainer.training import build as builders
from trainer.training.encode import caption_encoder

PICK = "stable-diffusion-v1-5/stable-diffusion-v1-5"


@pytest.fixture(scope="module")
def other() -> StableDiffusion:
    """A model of the first family that is not the demo model."""
    torch.manual_seed(2)
    return random_model("sd1")


def same(ours: nn.Module, theirs: nn.Module) -> bool:
    """Whether all weights are the same."""
    mine, wanted = ours.state_dict(), theirs.state_dict()
    return mine.keys() == wanted.keys() and all(torch.equal(mine[name], wanted[name]) for name in wanted)


def test_the_model_named_is_the_one_that_learns(other: StableDiffusion, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "other.safetensors", other)
    found = base_model(short_settings(tmp_path, pretrained_model_name_or_path=str(path)))
    assert same(found.denoiser, other.denoiser)
    assert same(found.text_encoders[0], other.text_encoders[0])


def test_model_quick_pick_goes_before_the_path(
    other: StableDiffusion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "hub" / f"models--{PICK.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0123")
    copytree(DEMO / "model", place / "snapshots" / "0123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    path = write_checkpoint(tmp_path / "other.safetensors", other)
    found = base_model(short_settings(tmp_path, model_list=PICK, pretrained_model_name_or_path=str(path)))
    assert same(found.denoiser, load_model(str(DEMO / "model")).denoiser)


def test_a_separate_vae_makes_the_latents(other: StableDiffusion, tmp_path: Path) -> None:
    other.vae.save_pretrained(tmp_path / "vae")
    latents = []
    for vae in ("", str(tmp_path / "vae")):
        settings = short_settings(tmp_path, vae=vae)
        parts = builders.build_parts(
            read_inputs(settings), JobFolder.create(tmp_path / "job", settings), quiet
        )
        assert parts.cached is not None
        latents.append(parts.cached.batch([0], [False]))
        assert same(parts.model.vae, other.vae) == bool(vae)
    assert not torch.allclose(*latents, atol=0.1)


def test_v2_reads_the_second_text_encoder_up_to_its_penultimate_layer(tmp_path: Path) -> None:
    torch.manual_seed(4)
    model = random_model("sd2")  # its 23 layers are the first of the 24 that the file holds
    path = write_checkpoint(tmp_path / "v2.safetensors", model)
    settings = short_settings(tmp_path, pretrained_model_name_or_path=str(path), v2=True)
    found = base_model(settings)
    told = caption_encoder(settings.captions, found, CPU, learning=False)(["a cat"])
    ids = model.tokenizers[0]("a cat", padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        layers = model.text_encoders[0](ids, output_hidden_states=True)
    assert torch.allclose(told.embeds, layers.last_hidden_state, atol=1e-5)
    targets = plan_targets(found, settings.network)
    numbers = {target.name.split("_layers_")[1].split("_")[0] for target in targets if "_te_" in target.name}
    assert numbers == {str(number) for number in range(23)}
