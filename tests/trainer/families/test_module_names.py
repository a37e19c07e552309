"""SDXL's module names, their order and blocks, against the recorded ones."""

from __future__ import annotations

import random

import pytest

from tests.trainer.references import reference
from trainer.families.module_names import original_name
from trainer.families.table import SD1, SDXL

KEYS = reference("sdxl_lora_keys")


@pytest.mark.parametrize("written", [".", "_"])
def test_every_diffusers_path_has_the_original_name(written: str):
    for original, path in KEYS["diffusers_names"].items():
        assert original_name(path.replace(".", written)).replace(".", "_") == original.replace(".", "_")


def test_an_original_name_stays():
    assert {name: original_name(name) for name in KEYS["diffusers_names"]} == {
        name: name for name in KEYS["diffusers_names"]
    }


@pytest.mark.parametrize("sizes", ["lora_dim4", "lora_dim4_conv2"])
def test_sorted_modules_stand_in_the_references_order(sizes: str):
    recorded = [key for key in KEYS[sizes] if key.startswith("lora_unet_")]
    paths = [path for path in KEYS["diffusers_names"].values() if SDXL.lora_key(path) in KEYS[sizes]]
    random.Random(1).shuffle(paths)
    assert [SDXL.lora_key(path) for path in sorted(paths, key=SDXL.order)] == recorded


def test_every_key_lies_in_the_references_block():
    assert {key: SDXL.blocks.index(key) for key in KEYS["block_index"]} == KEYS["block_index"]
    assert SDXL.blocks.index("lora_te1_text_model_encoder_layers_0_mlp_fc1") is None


@pytest.mark.parametrize(
    ("path", "block"),
    [("time_embedding.linear_1", 0), ("add_embedding.linear_2", 0), ("conv_in", 1), ("conv_out", 22)],
)
def test_what_lies_outside_the_levels_has_its_number_too(path: str, block: int):
    assert SDXL.blocks.index(SDXL.lora_key(path)) == block


def test_text_keys_are_the_same_for_all_versions_of_transformers():
    path = "encoder.layers.0.mlp.fc1"
    assert SDXL.text_key(1, path) == SDXL.text_key(1, f"text_model.{path}")
    assert SDXL.text_key(1, path) in KEYS["lora_dim4"]
    assert SD1.text_key(0, path) == "lora_te_text_model_encoder_layers_0_mlp_fc1"
