"""What is converted does in diffusers what the file that it was made of does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from tests.checkpoints import random_model
from tests.trainer.tools.made import lora, tensors
from trainer.tools.convert import convert

UNET = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0"
TEXT = "lora_te_text_model_encoder_layers"
MODULES = {
    f"{UNET}_attn2_to_k": (32, 48, 0),
    f"{TEXT}_0_mlp_fc1": (64, 48, 0),
    f"{TEXT}_0_self_attn_out_proj": (48, 48, 0),
}
OTHERS = {f"{UNET}_attn1_to_q": (32, 32, 0), f"{TEXT}_3_self_attn_q_proj": (48, 48, 0)}


@torch.no_grad()
def answers(path: Path | None) -> tuple[Tensor, Tensor]:
    """The text encoder's and the denoiser's answers, (1, 8, 48) and (1, 4, 8, 8), of a model with a file."""
    torch.manual_seed(0)
    model = random_model("sd1")
    text_encoder: Any = model.text_encoders[0]
    pipeline: Any = StableDiffusionPipeline(
        vae=model.vae, text_encoder=text_encoder, tokenizer=model.tokenizers[0], unet=model.denoiser,
        scheduler=model.schedule.sampler("ddim"), safety_checker=None, feature_extractor=None,  # pyright: ignore[reportArgumentType]  # None is none
        requires_safety_checker=False,
    )  # fmt: skip
    if path:
        pipeline.load_lora_weights(str(path))
    torch.manual_seed(1)
    words = torch.arange(1, 9)[None]
    latents, texts = torch.randn(1, 4, 8, 8), torch.randn(1, 8, 48)
    return text_encoder(words).last_hidden_state, model.denoiser(latents, torch.tensor([500]), texts).sample


@pytest.mark.filterwarnings("ignore")  # transformers' and PEFT's own
def test_diffusers_does_the_same_with_a_converted_file(tmp_path: Path):
    made = tensors(4, 2, 0, MODULES | OTHERS)
    weak = {name: tensor * 0.3 if tensor.dim() else tensor for name, tensor in made.items()}
    path = lora(tmp_path / "a.safetensors", weak, ss_base_model_version="sd_v1")
    convert(path, tmp_path / "b.safetensors")
    bare, before, after = (answers(file) for file in (None, path, tmp_path / "b.safetensors"))
    for nothing, kohya, diffusers in zip(bare, before, after, strict=True):
        assert float((kohya - nothing).abs().max()) > 0.01
        assert torch.allclose(kohya, diffusers, atol=1e-5)
