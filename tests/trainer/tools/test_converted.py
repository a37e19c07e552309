"""What is converted does in diffusers what the file that it was made of does."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor

from tests.checkpoints import random_model
from tests.trainer.tools.made import lora, tensors
from trainer.tools.convert import convert

UNET = "down_blocks.0.attentions.0.transformer_blocks.0"
TEXT = "text_model.encoder.layers"
UNET_LAYERS = {f"{UNET}.attn2.to_k": (32, 48, 0), f"{UNET}.attn1.to_q": (32, 32, 0)}
TEXT_LAYERS = {
    f"{TEXT}.0.mlp.fc1": (64, 48, 0),
    f"{TEXT}.0.self_attn.out_proj": (48, 48, 0),
    f"{TEXT}.3.self_attn.q_proj": (48, 48, 0),
}
SIZES = ((4, 2.0), (2, 3.0))
"""Rank and alpha of the modules in turn."""


def weights() -> dict[str, Tensor]:
    """A LoRA of kohya's names, of several ranks and alphas."""
    made: dict[str, Tensor] = {}
    for prefix, layers in (("lora_unet_", UNET_LAYERS), ("lora_te_", TEXT_LAYERS)):
        for number, (path, size) in enumerate(layers.items()):
            rank, alpha = SIZES[number % 2]
            made |= tensors(rank, alpha, number, {prefix + path.replace(".", "_"): size})
    return {name: tensor * 0.3 if tensor.dim() else tensor for name, tensor in made.items()}


@torch.no_grad()
def answers(file: Path | None = None, changes: dict[str, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """The text encoder's and the denoiser's answers, (1, 8, 48) and (1, 4, 8, 8), of a model with a file that
    diffusers has loaded, or with a LoRA's changes added to its weights.
    """
    torch.manual_seed(0)
    model = random_model("sd1")
    text_encoder: Any = model.text_encoders[0]
    if changes:
        add(changes, "lora_unet_", UNET_LAYERS, model.denoiser)
        add(changes, "lora_te_", TEXT_LAYERS, text_encoder)
    pipeline: Any = StableDiffusionPipeline(
        vae=model.vae, text_encoder=text_encoder, tokenizer=model.tokenizers[0], unet=model.denoiser,
        scheduler=model.schedule.sampler("ddim"), safety_checker=None, feature_extractor=None,  # pyright: ignore[reportArgumentType]  # None is none
        requires_safety_checker=False,
    )  # fmt: skip
    if file:
        pipeline.load_lora_weights(str(file))
    torch.manual_seed(1)
    words = torch.arange(1, 9)[None]
    latents, texts = torch.randn(1, 4, 8, 8), torch.randn(1, 8, 48)
    return text_encoder(words).last_hidden_state, model.denoiser(latents, torch.tensor([500]), texts).sample


def add(lora_weights: dict[str, Tensor], prefix: str, layers: Iterable[str], model: Any) -> None:
    """W + up · down · alpha / rank."""
    for path in layers:
        up, down, alpha = (
            lora_weights[f"{prefix}{path.replace('.', '_')}.{entry}"]
            for entry in ("lora_up.weight", "lora_down.weight", "alpha")
        )
        # transformers 5.6 took the inner `text_model` away.
        inner = path if hasattr(model, "text_model") else path.removeprefix("text_model.")
        model.get_submodule(inner).weight += up @ down * (float(alpha) / len(down))


@pytest.mark.filterwarnings("ignore")  # transformers' and PEFT's own
def test_diffusers_makes_of_a_converted_file_what_the_lora_says(tmp_path: Path):
    path = lora(tmp_path / "a.safetensors", weights(), ss_base_model_version="sd_v1")
    convert(path, tmp_path / "b.safetensors")
    bare, said, loaded = answers(), answers(changes=weights()), answers(tmp_path / "b.safetensors")
    for nothing, expected, answer in zip(bare, said, loaded, strict=True):
        assert float((expected - nothing).abs().max()) > 0.01
        assert torch.allclose(expected, answer, atol=1e-5)


LENGTHS = {
    f"lora_unet_{UNET}.attn2.to_k".replace(".", "_"): ((32, 48, 0), (32, 1), (32,)),
    "lora_unet_down_blocks_0_resnets_0_conv1": ((32, 32, 3), (32, 1, 1, 1), (1, 32, 1, 1)),
}
"""Module -> its size, and the shapes of its rows' lengths (DoRA) in kohya's files and in PEFT's."""


def test_lengths_of_rows_have_the_shapes_that_each_reader_wants(tmp_path: Path) -> None:
    made = tensors(4, 2, 0, {name: size for name, (size, _, _) in LENGTHS.items()})
    made |= {f"{name}.dora_scale": torch.rand(shape) + 1 for name, (_, shape, _) in LENGTHS.items()}
    convert(lora(tmp_path / "k.safetensors", made, ss_base_model_version="sd_v1"), tmp_path / "d.safetensors")
    told = load_file(tmp_path / "d.safetensors")
    shapes = {tuple(tensor.shape) for name, tensor in told.items() if "magnitude" in name}
    assert shapes == {shape for _, _, shape in LENGTHS.values()}
    convert(tmp_path / "d.safetensors", tmp_path / "b.safetensors")
    back = load_file(tmp_path / "b.safetensors")
    assert back.keys() == made.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in made.items()), "shapes, too"
