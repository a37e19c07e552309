"""A tiny model, what it answers, and how far two answers are apart: for tests of LoRA types."""

from __future__ import annotations

import copy
import dataclasses
from functools import cache

import torch
from torch import Tensor

from tests.checkpoints import random_model
from trainer.models.load import LoadedModel

STEPS = torch.tensor([500])


@cache
def base_model() -> LoadedModel:
    torch.manual_seed(0)
    return random_model("sd1")


def fresh_model() -> LoadedModel:
    """The same tiny model with a UNet and text encoders of its own."""
    model = base_model()
    encoders = copy.deepcopy(model.text_encoders)
    return dataclasses.replace(model, unet=copy.deepcopy(model.unet), text_encoders=encoders)


@torch.no_grad()
def answer(model: LoadedModel) -> tuple[Tensor, Tensor]:
    """Text embeddings and noise for fixed input."""
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 4, 8, 8, generator=generator)
    ids = torch.randint(0, 49408, (1, 77), generator=generator)
    embeds = model.text_encoders[0](ids).last_hidden_state
    return embeds, model.predict_noise(latents, STEPS, embeds)


def gap(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> float:
    """The largest difference of any number."""
    return max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))
