"""Verdicts on LoRA files of every type, from files as the types are written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from trainer.lora.info import describe
from trainer.lora.readers import learned_words, readers

ATTENTION = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
RESNET = "lora_unet_down_blocks_0_resnets_0_conv1"
TEXT = "lora_te_text_model_encoder_layers_0_mlp_fc1"
Shapes = Mapping[str, tuple[int, ...]]
LORA: Shapes = {"lora_down.weight": (4, 768), "lora_up.weight": (320, 4)}
TYPES: dict[str, Shapes] = {
    "lora": LORA,
    "tucker": {**LORA, "lora_mid.weight": (4, 4, 3, 3)},
    "dora": {**LORA, "dora_scale": (1, 768)},
    "loha": {"hada_w1_a": (320, 4), "hada_w1_b": (4, 768), "hada_w2_a": (320, 4), "hada_w2_b": (4, 768)},
    "lokr": {"lokr_w1": (8, 8), "lokr_w2_a": (40, 4), "lokr_w2_b": (4, 96)},
    "glora": {"a1.weight": (4, 4), "a2.weight": (4, 4), "b1.weight": (4, 4), "b2.weight": (4, 4)},
    "oft": {"oft_blocks": (4, 80, 80)},
    "ia3": {"weight": (768,), "on_input": ()},
    "full": {"diff": (320, 768)},
}
VERDICTS = {
    "lora": ("yes", "yes", "yes", "yes"),
    "tucker": ("yes", "yes", "yes", "no"),
    "dora": ("limits", "yes", "yes", "no"),
    "loha": ("yes", "yes", "yes", "no"),
    "lokr": ("yes", "yes", "yes", "no"),
    "glora": ("yes", "yes", "yes", "no"),
    "oft": ("limits", "no", "limits", "no"),
    "ia3": ("yes", "no", "no", "no"),
    "full": ("yes", "yes", "yes", "no"),
}


def written(path: Path, modules: Mapping[str, tuple[Shapes, float]], **metadata: str) -> Path:
    tensors = {
        f"{name}.{key}": np.zeros(shape, "f4")
        for name, (shapes, _) in modules.items()
        for key, shape in shapes.items()
    }
    alphas = {f"{name}.alpha": np.array(alpha, "f4") for name, (_, alpha) in modules.items()}
    save_file({**tensors, **alphas}, path, metadata)
    return path


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_has_its_verdicts(tmp_path: Path, kind: str):
    info = describe(written(tmp_path / "a.safetensors", {ATTENTION: (TYPES[kind], 4)}))
    assert tuple(reader.verdict for reader in readers(info)) == VERDICTS[kind]


@pytest.mark.parametrize(
    ("other", "verdict"), [(ATTENTION.replace("mid", "up"), "limits"), (TEXT, "yes"), (RESNET, "yes")]
)
def test_several_alphas_trouble_diffusers_where_they_meet_in_one_part(
    tmp_path: Path, other: str, verdict: str
):
    info = describe(written(tmp_path / "a.safetensors", {ATTENTION: (LORA, 4), other: (LORA, 2)}))
    assert readers(info)[3].verdict == verdict
    assert {reader.verdict for reader in readers(info)[:3]} == {"yes"}


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        ("lora_unet_middle_block_1_proj_in", "limits"),
        ("lora_unet_output_blocks_0_1_transformer_blocks_9_ff_net_2", "limits"),
        ("lora_unet_output_blocks_0_0_in_layers_2", "yes"),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1", "yes"),
    ],
)
def test_so_they_do_under_sdxls_names(tmp_path: Path, other: str, verdict: str):
    attention = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    info = describe(written(tmp_path / "a.safetensors", {attention: (LORA, 4), other: (LORA, 2)}))
    assert (info.family, readers(info)[3].verdict) == ("sdxl", verdict)


@pytest.mark.parametrize(("width", "found"), [(768, "sd1"), (1024, "sd2"), (2048, "sdxl"), (64, "sd2")])
def test_family_by_the_width_of_text_else_by_metadata(tmp_path: Path, width: int, found: str):
    shapes = {"lora_down.weight": (4, width), "lora_up.weight": (320, 4)}
    path = written(tmp_path / "a.safetensors", {ATTENTION: (shapes, 4)}, ss_base_model_version="sd_v2_v")
    assert describe(path).family == found


def test_sd2_projections_are_not_for_diffusers(tmp_path: Path):
    wide = {"lora_down.weight": (4, 1024), "lora_up.weight": (320, 4)}
    projection = "lora_unet_mid_block_attentions_0_proj_in"
    info = describe(written(tmp_path / "a.safetensors", {ATTENTION: (wide, 4), projection: (wide, 4)}))
    assert (readers(info)[3].verdict, readers(info)[3].reason) == ("no", "sd2_shapes")


def test_learned_words_come_from_folders_and_captions():
    tags = {"10_sks cat": {"sks cat": 5, "grass": 2}, "2_dog": {"grass": 4}}
    words = learned_words({"ss_tag_frequency": json.dumps(tags)})
    assert words.classes == ("sks cat", "dog")
    assert words.captions == (("grass", 6), ("sks cat", 5))


@pytest.mark.parametrize("text", ["", "no json", "[1]", '{"a": 3}', '{"a": {"b": "c"}}'])
def test_odd_metadata_is_no_trouble(text: str):
    assert learned_words({"ss_tag_frequency": text}).captions == ()
