"""The families that can be trained. To add one: a value here, a file in `models/`, a row in `detect`."""

from __future__ import annotations

from collections.abc import Mapping

from trainer.families import module_names
from trainer.families.family import Blocks, Family, LatentSpace, TextEncoder
from trainer.settings import FamilyKey, Model, family_key

_SD_BLOCKS = Blocks(
    (*(f"IN{i:02d}" for i in range(12)), "MID", *(f"OUT{i:02d}" for i in range(12))),
    down=range(12),
    mid=range(12, 13),
    up=range(13, 25),
    attention=(1, 2, 4, 5, 7, 8, 12, *range(16, 25)),
    index=module_names.diffusers_block,
)
_SD_LATENTS = LatentSpace("sd", channels=4, factor=8, scale=0.18215)
SD1 = Family(
    key="sd1",
    title="Stable Diffusion 1.x",
    switches={"v2": False, "sdxl": False},
    pipeline="StableDiffusionPipeline",
    text_encoders=(TextEncoder("text_encoder", "lora_te", "cond_stage_model.transformer."),),
    context=768,
    latents=_SD_LATENTS,
    side=512,
    sample_side=512,
    least_side=0,
    bucket_step=8,
    blocks=_SD_BLOCKS,
    file_name=module_names.diffusers_name,
    order=module_names.diffusers_order,
    half_vae_fails=False,
    outer_layers=True,
    linear_as_convolution=False,
    script="train_network.py",
    architecture="stable-diffusion-v1/lora",
    architecture_v="stable-diffusion-v1/lora",
    implementation="diffusers",
    version="sd_v1",
    version_v="sd_v1_v",
    weights=(859_520_964, 123_060_480, 83_653_863),
)
SD2 = Family(
    key="sd2",
    title="Stable Diffusion 2.x",
    switches={"v2": True, "sdxl": False},
    pipeline="StableDiffusionPipeline",
    text_encoders=(TextEncoder("text_encoder", "lora_te", "cond_stage_model.model.", "open_clip", "!"),),
    context=1024,
    latents=_SD_LATENTS,
    side=768,
    sample_side=512,
    least_side=0,
    bucket_step=8,
    blocks=_SD_BLOCKS,
    file_name=module_names.diffusers_name,
    order=module_names.diffusers_order,
    half_vae_fails=False,
    outer_layers=True,
    linear_as_convolution=True,
    script="train_network.py",
    architecture="stable-diffusion-v2-512/lora",
    architecture_v="stable-diffusion-v2-768-v/lora",
    implementation="diffusers",
    version="sd_v2",
    version_v="sd_v2_v",
    weights=(865_910_724, 340_387_840, 83_653_863),
)
SDXL = Family(
    key="sdxl",
    title="SDXL",
    switches={"v2": False, "sdxl": True},
    pipeline="StableDiffusionXLPipeline",
    text_encoders=(
        TextEncoder("text_encoder", "lora_te1", "conditioner.embedders.0.transformer."),
        TextEncoder(
            "text_encoder_2",
            "lora_te2",
            "conditioner.embedders.1.model.",
            "open_clip",
            pad_id=0,
            projected=True,
        ),
    ),
    context=2048,
    latents=LatentSpace("sdxl", channels=4, factor=8, scale=0.13025),
    side=1024,
    sample_side=512,
    least_side=768,
    bucket_step=32,
    blocks=Blocks(
        (
            "EMB",
            *(f"IN{i:02d}" for i in range(9)),
            *(f"MID{i:02d}" for i in range(3)),
            *(f"OUT{i:02d}" for i in range(9)),
            "LAST",
        ),
        down=range(1, 10),
        mid=range(10, 13),
        up=range(13, 22),
        attention=(5, 6, 8, 9, 11, *range(13, 19)),
        index=module_names.original_block,
    ),
    file_name=module_names.original_name,
    order=module_names.original_order,
    half_vae_fails=True,
    outer_layers=False,
    linear_as_convolution=False,
    script="sdxl_train_network.py",
    architecture="stable-diffusion-xl-v1-base/lora",
    architecture_v="stable-diffusion-xl-v1-base/lora",
    implementation="https://github.com/Stability-AI/generative-models",
    version="sdxl_base_v1-0",
    version_v="sdxl_base_v1-0",
    weights=(2_567_463_684, 817_720_320, 83_653_863),
)
FAMILIES: Mapping[FamilyKey, Family] = {family.key: family for family in (SD1, SD2, SDXL)}


def named_by(model: Model) -> Family:
    """The family that the settings v2 and SDXL Model name."""
    return FAMILIES[family_key({"v2": model.v2, "sdxl": model.sdxl})]
