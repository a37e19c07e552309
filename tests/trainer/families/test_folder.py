"""What a diffusers folder holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.made import model_file
from trainer.families.detect import read_model
from trainer.families.facts import FULL_SIZE

SD_TEXT = {"hidden_act": "quick_gelu", "hidden_size": 768}
OPEN_TEXT = {"hidden_act": "gelu", "hidden_size": 1024}
XL_SECOND = {"hidden_act": "gelu", "hidden_size": 1280}
XL_UNET = {"cross_attention_dim": 2048, "addition_embed_type": "text_time"}


def folder(
    root: Path,
    unet: Mapping[str, Any],
    *texts: Mapping[str, Any],
    name: str | None = "StableDiffusionPipeline",
    scheduler: Mapping[str, Any] | None = None,
) -> Path:
    """A diffusers folder with these configurations; `name` None: without model_index.json."""
    parts = {
        "unet": {"in_channels": 4, **unet},
        **dict(zip(("text_encoder", "text_encoder_2"), texts, strict=False)),
    }
    for part, config in parts.items():
        if config is not None:
            (root / part).mkdir(parents=True)
            (root / part / "config.json").write_text(json.dumps(config))
    if name:
        (root / "model_index.json").write_text(json.dumps({"_class_name": name}))
    if scheduler:
        (root / "scheduler").mkdir()
        (root / "scheduler/scheduler_config.json").write_text(json.dumps(scheduler))
    return root


LINEAR = {"use_linear_projection": True}


@pytest.mark.parametrize(
    ("unet", "texts", "family"),
    [
        ({"cross_attention_dim": 768}, [SD_TEXT], "sd1"),
        ({"cross_attention_dim": 768, **LINEAR}, [SD_TEXT], "sd1"),
        ({"cross_attention_dim": 1024, **LINEAR}, [OPEN_TEXT], "sd2"),
        ({"cross_attention_dim": 1024}, [OPEN_TEXT], "sd2"),
        ({"cross_attention_dim": 48, **LINEAR}, [{"hidden_act": "quick_gelu", "hidden_size": 48}], "sd1"),
        ({"cross_attention_dim": 48}, [{"hidden_act": "gelu", "hidden_size": 48}], "sd2"),
        (XL_UNET, [SD_TEXT, XL_SECOND], "sdxl"),
    ],
)
@pytest.mark.parametrize("name", ["StableDiffusionPipeline", "StableDiffusionXLImg2ImgPipeline", "Own", None])
def test_the_family_follows_from_text_encoders_and_unet(tmp_path, unet, texts, family, name):
    facts = read_model(folder(tmp_path / "m", unet, *texts, name=name))
    assert (facts.kind, facts.family) == ("base", family)


def test_weights_in_another_form_count_as_those_of_the_published_model(tmp_path):
    """Illustrious XL has its second text encoder as .bin."""
    model = folder(tmp_path / "m", XL_UNET, SD_TEXT, XL_SECOND)
    block = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    model_file(model / "unet/diffusion_pytorch_model.safetensors", {block: (64, 2048)})
    layer = "text_model.encoder.layers.0.mlp.fc1.weight"
    model_file(model / "text_encoder/model.safetensors", {layer: (64, 768)})
    (model / "text_encoder_2/pytorch_model.bin").write_bytes(b"x")
    facts, full = read_model(model), FULL_SIZE["sdxl"]
    assert (facts.family, facts.text_encoder, facts.layers) == ("sdxl", full.text_encoder, full.layers)
    assert facts.denoiser == 64 * 2048


OTHERS = {
    "refiner": ({"cross_attention_dim": 1280, "addition_embed_type": "text_time"}, [None, XL_SECOND]),
    "part": ({"cross_attention_dim": 768}, []),
    "inpainting": ({"cross_attention_dim": 768, "in_channels": 9}, [SD_TEXT]),
    "depth": ({"cross_attention_dim": 1024, "in_channels": 5}, [OPEN_TEXT]),
    "mixed": ({"cross_attention_dim": 1024}, [SD_TEXT]),
    "other_model": ({"cross_attention_dim": 768, "in_channels": 8}, [SD_TEXT]),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_folders_that_are_no_base_model_are_told(tmp_path, kind):
    unet, texts = OTHERS[kind]
    assert read_model(folder(tmp_path / "m", unet, *texts)).kind == kind


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("FluxPipeline", "FLUX.1"),
        ("StableDiffusion3Pipeline", "Stable Diffusion 3"),
        ("ChromaPipeline", "Chroma"),
        ("NewThingPipeline", "NewThing"),
        ("KolorsPipeline", "Kolors"),
    ],
)
def test_folders_of_other_families_are_named(tmp_path, name, title):
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer/config.json").write_text("{}")
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": name}))
    facts = read_model(tmp_path)
    assert (facts.kind, facts.title) == ("other_model", title)


@pytest.mark.parametrize(
    ("scheduler", "v_prediction", "zero"),
    [
        ({"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}, True, True),
        ({"prediction_type": "epsilon", "rescale_betas_zero_snr": False}, False, False),
        ({"_class_name": "EulerDiscreteScheduler"}, None, False),
        (None, None, False),
    ],
)
def test_the_scheduler_tells_the_prediction(tmp_path, scheduler, v_prediction, zero):
    facts = read_model(folder(tmp_path / "m", XL_UNET, SD_TEXT, XL_SECOND, scheduler=scheduler))
    assert (facts.v_prediction, facts.zero_terminal_snr) == (v_prediction, zero)


def test_depths_are_counted_from_the_weights(tmp_path):
    path = folder(tmp_path / "m", XL_UNET, SD_TEXT, XL_SECOND)
    names = [
        f"down_blocks.{level}.attentions.0.transformer_blocks.{layer}.attn1.to_q.weight"
        for level, depth in ((1, 2), (2, 10))
        for layer in range(depth)
    ]
    model_file(path / "unet/diffusion_pytorch_model.fp16.safetensors", dict.fromkeys(names, (8, 8)))
    assert read_model(path).depths == (2, 10)


def test_a_part_that_comes_later_is_seen(tmp_path):
    path = folder(tmp_path / "m", {"cross_attention_dim": 768}, SD_TEXT)
    before = read_model(path).denoiser
    model_file(path / "unet/diffusion_pytorch_model.safetensors", {"conv_in.weight": (32, 4, 3, 3)})
    assert before != read_model(path).denoiser == 32 * 4 * 9
