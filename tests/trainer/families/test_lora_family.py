"""For which base models a LoRA file was made."""

from __future__ import annotations

import pytest

from tests.trainer.references import reference
from trainer.families.lora_family import lora_family, other_lora
from trainer.families.table import FAMILIES

KEYS = reference("sdxl_lora_keys")
LYCORIS = reference("sdxl_lycoris_keys")
SD_Q = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


def recorded(sizes: str) -> dict[str, tuple[int, ...]]:
    return {
        f"{module}.{suffix}": tuple(shape)
        for module, shapes in KEYS[sizes].items()
        for suffix, shape in zip(KEYS["suffixes"], shapes, strict=True)
    }


def of_lycoris(variant: str) -> dict[str, tuple[int, ...]]:
    return {
        f"{module}.{suffix}": tuple(shape)
        for module, variants in LYCORIS["modules"].items()
        for suffix, shape in zip(
            LYCORIS["suffix_lists"][variants[variant][0]], variants[variant][1:], strict=True
        )
    }


@pytest.mark.parametrize("sizes", ["lora_dim4", "lora_dim4_conv2"])
@pytest.mark.parametrize("part", ["lora_unet", "lora_te1", "lora_te2", "lora_"])
def test_files_for_sdxl_are_told_by_any_part(sizes: str, part: str):
    shapes = {key: shape for key, shape in recorded(sizes).items() if key.startswith(part)}
    told = lora_family(shapes, {})
    assert told == (None if part == "lora_te1" else "sdxl")


@pytest.mark.parametrize("variant", ["locon_conv2", "lora_dora", "lokr_f8_conv2", "loha_conv2"])
def test_files_of_lycoris_for_sdxl_are_told(variant: str):
    assert lora_family(of_lycoris(variant), {}) == "sdxl"


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
@pytest.mark.parametrize(
    "entries",
    [
        lambda inner: {"lora_down.weight": (4, inner), "lora_up.weight": (320, 4)},
        lambda inner: {"hada_w1_a": (320, 4), "hada_w1_b": (4, inner)},
        lambda inner: {"lokr_w1": (8, 8), "lokr_w2": (40, inner // 8)},
        lambda inner: {"lokr_w1": (8, 8), "lokr_w2_a": (40, 4), "lokr_w2_b": (4, inner // 8)},
        lambda inner: {"a2.weight": (4, inner), "b1.weight": (320, 4)},
        lambda inner: {"diff": (320, inner)},
    ],
    ids=["lora", "loha", "lokr", "lokr_ab", "glora", "full"],
)
def test_the_width_of_the_text_tells(family, entries):
    shapes = {f"{SD_Q}.{name}": shape for name, shape in entries(family.context).items()}
    assert lora_family(shapes, {}) == family.key


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight", "sd1"),
        ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_k_lora.down.weight", "sd1"),
        ("lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", "sd1"),
        ("lora_unet_down_blocks_2_attentions_0_transformer_blocks_9_ff_net_2.lora_down.weight", "sdxl"),
        ("unet.up_blocks.0.attentions.2.proj_in.lora_A.weight", "sdxl"),
        ("text_encoder_2.text_model.encoder.layers.0.mlp.fc1.lora_A.weight", "sdxl"),
    ],
)
def test_names_of_other_programs_are_understood(name: str, family: str):
    assert lora_family({name: (4, 768)}, {}) == family


@pytest.mark.parametrize(
    ("metadata", "family"),
    [
        ({"ss_base_model_version": "sdxl_base_v1-0_v"}, "sdxl"),
        ({"ss_base_model_version": "sd_v2_v"}, "sd2"),
        ({"modelspec.architecture": "stable-diffusion-v1/lora"}, "sd1"),
        ({}, None),
    ],
)
def test_a_file_that_shows_nothing_is_believed(metadata: dict, family: str | None):
    assert lora_family({"lora_unet_mid_block_resnets_0_conv1.on_input": ()}, metadata) == family


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", "FLUX.1"),
        ("transformer.single_transformer_blocks.0.proj_mlp.lora_A.weight", "FLUX.1"),
        ("lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight", "Stable Diffusion 3"),
        ("lora_unet_llm_adapter_blocks_0_mlp_0.lora_down.weight", "Anima"),
        ("lora_unet_blocks_0_self_attn_output_proj.lora_down.weight", "Anima"),
    ],
)
def test_files_for_other_families_are_named(name: str, title: str):
    assert other_lora({name: (4, 8)}) == title
    assert lora_family({name: (4, 8)}, {"ss_base_model_version": "sd_v1"}) is None
