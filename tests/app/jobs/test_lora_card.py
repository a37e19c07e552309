"""A LoRA file explained: whom it was made for, by its names and metadata."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.jobs.lora_card import card
from tests.trainer.made import model_file

XL = {
    "lora_unet_middle_block_1_proj_in.alpha": (1,),
    "lora_unet_middle_block_1_proj_in.lora_down.weight": (4, 1280),
    "lora_unet_middle_block_1_proj_in.lora_up.weight": (1280, 4),
    "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (4, 1280),
    "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": (5120, 4),
}


@pytest.mark.parametrize(("prediction", "told"), [("v", True), ("epsilon", False)])
def test_a_file_for_sdxl_says_so_and_what_it_learned_on(tmp_path: Path, prediction: str, told: bool):
    file = model_file(tmp_path / "a.safetensors", XL, **{"modelspec.prediction_type": prediction})
    rows = dict(card(file, "en")["rows"])
    assert "every SDXL model" in rows["Made for"]
    assert ("v-prediction" in rows["Made for"]) == told
    assert "1 of the second text encoder" in rows["Changes"]
