"""The demo model is a regular Stable Diffusion 1.x model, small, that draws what its prompt says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from presets.demo.make import draw, measure, sample, vae
from presets.demo.make.__main__ import world_pictures

CROSS_ATTENTION_LEVELS = ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")


def test_demo_is_small(demo_folder: Path):
    """Model, tokenizer and pictures take at most 16 MB."""
    shipped = [*(demo_folder / "model").rglob("*"), *(demo_folder / "pictures").rglob("*")]
    assert sum(path.stat().st_size for path in shipped if path.is_file()) <= 16_000_000


def test_weights_are_half_precision_but_load_as_float32(demo_folder: Path, pipeline: StableDiffusionPipeline):
    from safetensors import safe_open

    for path in (demo_folder / "model").rglob("*.safetensors"):
        with safe_open(path, "pt") as file:
            assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118  # no dict
    assert {pipeline.unet.dtype, pipeline.vae.dtype, pipeline.text_encoder.dtype} == {torch.float32}


def test_topology_is_that_of_sd15(pipeline: StableDiffusionPipeline):
    unet, config = pipeline.unet, pipeline.unet.config
    assert list(config.down_block_types) == CROSS_ATTENTION_LEVELS
    assert list(config.up_block_types) == ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3
    assert config.layers_per_block == 2
    assert config.in_channels == config.out_channels == 4
    targets = [
        name for name, _ in unet.named_modules() if ".attentions." in name and name.endswith(LORA_TARGETS)
    ]
    assert len(targets) == 192  # as many modules as kohya's LoRA has in SD1.5
    assert pipeline.vae.config.latent_channels == 4
    assert pipeline.vae_scale_factor == 8
    assert pipeline.vae.config.scaling_factor == pytest.approx(0.18215)
    assert pipeline.scheduler.config.prediction_type == "epsilon"


def test_tokenizer_is_clips(pipeline: StableDiffusionPipeline):
    assert len(pipeline.tokenizer) == 49408
    assert pipeline.tokenizer.model_max_length == 77
    assert pipeline.tokenizer("a red circle")["input_ids"] == [49406, 320, 736, 7117, 49407]
    assert pipeline.text_encoder.config.vocab_size == 49408


def test_names_fit_sd15_lora_keys(pipeline: StableDiffusionPipeline):
    """The module names that LoRA keys are made of are CLIPTextModel's and the UNet's own."""
    text_names = dict(pipeline.text_encoder.named_modules())
    assert any(name.endswith("encoder.layers.0.self_attn.q_proj") for name in text_names)
    assert any(name.endswith("encoder.layers.0.mlp.fc2") for name in text_names)
    unet_names = dict(pipeline.unet.named_modules())
    assert "down_blocks.2.attentions.1.transformer_blocks.0.attn2.to_k" in unet_names
    assert "mid_block.attentions.0.proj_in" in unet_names


def test_vae_keeps_pictures(pipeline: StableDiffusionPipeline):
    """There and back again loses little; latents have the deviation that the scaling factor promises."""
    pictures = world_pictures(16, seed=77)
    assert vae.psnr(pipeline.vae, pictures) > 29
    assert 0.7 < vae.encode(pipeline.vae, pictures).std() < 1.3


@pytest.fixture(scope="module")
def scenes() -> list[draw.Scene]:
    return [
        draw.Scene("circle", "red", "white"),
        draw.Scene("square", "blue", "white"),
        draw.Scene("triangle", "green", "white"),
        draw.Scene("star", "orange", "white"),
        draw.Scene("heart", "pink", "white"),
        draw.Scene("cat", "purple", "white"),
        draw.Scene("circle", "yellow", "black"),
        draw.Scene("square", "brown", "pink"),
        draw.Scene("house", "cyan", "yellow"),
        draw.Scene("bear", "gray", "green"),
    ]


@pytest.fixture(scope="module")
def drawn(pipeline: StableDiffusionPipeline, scenes: list[draw.Scene]) -> list[np.ndarray]:
    return sample.sample(pipeline, [sample.prompt_for(scene) for scene in scenes], seed=0)


def test_model_draws_what_the_prompt_says(drawn: list[np.ndarray], scenes: list[draw.Scene]):
    """Grounds and colours by their pixels, figures by their outline."""
    quality = sample.accuracy(drawn, scenes)
    assert quality["ground"] == 1
    assert quality["color"] >= 0.9
    assert quality["figure"] >= 0.8


def test_red_circle_is_red_and_round(drawn: list[np.ndarray]):
    """Without our judge: the middle is red, the corners are white."""
    picture = drawn[0].astype(int)
    red, green, blue = picture[56:72, 56:72].mean((0, 1))
    assert red > 180
    assert max(green, blue) < 110
    assert picture[[2, 2, -3, -3], [2, -3, 2, -3]].min() > 225


def test_model_does_not_know_the_mascot(pipeline: StableDiffusionPipeline):
    """Otherwise a LoRA would prove nothing."""
    drawn = sample.sample(pipeline, ["sks mascot on a white background"] * 4, seed=0)
    assert min(measure.mascot_distance(picture) for picture in drawn) > measure.LIKE_MASCOT
