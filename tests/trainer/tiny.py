"""A tiny model, what it answers, and how far two answers are apart: for tests of LoRA types."""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import Tensor

from tests.checkpoints import model_of, random_model
from trainer.models.base import BaseModel, Conditioning, Framing
from trainer.models.sd import StableDiffusion

STEPS = torch.tensor([500])
FRAMING = Framing([(64, 64)], [(0, 0)], (64, 64))


@cache
def base_model() -> StableDiffusion:
    torch.manual_seed(0)
    return random_model("sd1")


def fresh_model() -> StableDiffusion:
    """The same tiny model with a UNet and text encoders of its own."""
    return copied(base_model())


def copied(model: StableDiffusion) -> StableDiffusion:
    """A model whose UNet and text encoders are copies; the VAE is shared."""
    encoders = copy.deepcopy(model.text_encoders)
    return model_of(copy.deepcopy(model.denoiser), model.vae, encoders, model.family.key)


def predict(model: BaseModel, latents: Tensor, steps: Tensor, embeds: Tensor) -> Tensor:
    """What the denoiser answers to (B, 4, h, w) latents with these text embeddings."""
    return model.predict(latents, steps, Conditioning(embeds), FRAMING)


@torch.no_grad()
def answer(model: StableDiffusion) -> tuple[Tensor, Tensor]:
    """Text embeddings and noise for fixed input."""
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 4, 8, 8, generator=generator)
    ids = torch.randint(0, 49408, (1, 77), generator=generator)
    embeds = model.text_encoders[0](ids).last_hidden_state
    return embeds, predict(model, latents, STEPS, embeds)


def gap(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> float:
    """The largest difference of any number."""
    return max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))
