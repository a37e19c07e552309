"""The published models' sizes without their weights."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from trainer.models.load import Family, LoadedModel
from trainer.models.single_file import shipped_config


def full_size(family: Family) -> LoadedModel:
    """Real sizes without memory."""
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(shipped_config(family, "unet"))
        text = CLIPTextModel(CLIPTextConfig(**shipped_config(family, "text_encoder")))
    empty: Any = None
    return LoadedModel(family, "epsilon", unet, empty, [text], [], empty, "")
