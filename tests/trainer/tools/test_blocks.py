"""Which part of a model a module of a LoRA belongs to, in both layouts of names."""

from __future__ import annotations

import pytest

from trainer.tools.blocks import block_of


@pytest.mark.parametrize(
    ("module", "block"),
    [
        ("lora_unet_down_blocks_1_attentions_0_proj_in", "down_blocks.1"),
        ("lora_unet_up_blocks_10_resnets_0_conv1", "up_blocks.10"),
        ("lora_unet_mid_block_attentions_0_proj_in", "mid_block"),
        ("lora_unet_input_blocks_4_1_proj_in", "input_blocks.4"),
        ("lora_unet_output_blocks_11_1_proj_in", "output_blocks.11"),
        ("lora_unet_middle_block_1_proj_in", "middle_block"),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1", "te"),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1", "te1"),
        ("lora_te2_text_model_encoder_layers_0_mlp_fc1", "te2"),
        ("lora_unet_conv_in", "other"),
        ("x_lora_te_a", "other"),
    ],
)
def test_a_module_belongs_to_a_block(module: str, block: str):
    assert block_of(module) == block
