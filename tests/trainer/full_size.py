"""The published models' sizes without their weights."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.checkpoints import model_of
from trainer.families.table import FAMILIES
from trainer.models.sd import StableDiffusion
from trainer.models.single_file import shipped_config
from trainer.settings import FamilyKey


def full_size(key: FamilyKey) -> StableDiffusion:
    """Real sizes without memory."""
    family = FAMILIES[key]
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(shipped_config(family, "unet"))
        texts = [
            (CLIPTextModelWithProjection if encoder.projected else CLIPTextModel)(
                CLIPTextConfig(**shipped_config(family, encoder.part))
            )
            for encoder in family.text_encoders
        ]
    empty: Any = None
    return model_of(unet, empty, texts, key, device=torch.device("meta"))
