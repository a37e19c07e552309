"""LoRA modules' names: kohya's (lora_unet_…) and diffusers' paths (unet.….to_q), both ways."""

from __future__ import annotations

import re
from functools import cache
from typing import cast

import torch
from torch import nn

from trainer.families.family import Family
from trainer.families.table import FAMILIES
from trainer.models.single_file import shipped_config
from trainer.settings import FamilyKey

TEXT_MODULE = re.compile(
    r"(?:text_model_)?encoder_layers_(\d+)_(self_attn|mlp)_(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"
)


def diffusers_path(module: str, family: Family) -> tuple[str, str] | None:
    """(part, path) of a kohya module: ("unet", "down_blocks.0…to_q"); None where the family has none such."""
    if module.startswith("lora_unet_"):
        path = _unet_paths(family.key).get(module)
        return ("unet", path) if path else None
    # The longest beginning first: lora_te is one of lora_te2, too.
    for encoder in sorted(family.text_encoders, key=lambda encoder: -len(encoder.lora)):
        if module.startswith(f"{encoder.lora}_"):
            match = TEXT_MODULE.fullmatch(module.removeprefix(f"{encoder.lora}_"))
            return (
                (encoder.part, f"text_model.encoder.layers.{match[1]}.{match[2]}.{match[3]}")
                if match
                else None
            )
    return None


def kohya_module(part: str, path: str, family: Family) -> str | None:
    """The way back; None for a part that the family does not have."""
    if part == "unet":
        return family.lora_key(path)
    index = next((i for i, encoder in enumerate(family.text_encoders) if encoder.part == part), None)
    return None if index is None else family.text_key(index, path)


def kernel_of(module: str, family: Family) -> tuple[int, ...]:
    """What stands behind (out, in) in the shape of a kohya module's weight; () where that is linear."""
    path = _unet_paths(family.key).get(module, "")
    if family.linear_as_convolution and path.endswith((".proj_in", ".proj_out")):
        return (1, 1)
    return _kernels(family.key).get(path, ())


@cache
def _kernels(key: FamilyKey) -> dict[str, tuple[int, ...]]:
    """diffusers' path of each convolution of the family's UNet -> the sizes of its kernel."""
    weights = ((path, getattr(module, "weight", None)) for path, module in _unet(key).named_modules())
    return {
        path: tuple(weight.shape[2:]) for path, weight in weights if weight is not None and weight.dim() > 2
    }


@cache
def _unet_paths(key: FamilyKey) -> dict[str, str]:
    """kohya's names, and diffusers' names in kohya's style, of all modules of the family's UNet."""
    family = FAMILIES[key]
    paths = [
        path for path, module in _unet(key).named_modules() if getattr(module, "weight", None) is not None
    ]
    return {f"lora_unet_{path.replace('.', '_')}": path for path in paths} | {
        family.lora_key(path): path for path in paths
    }


@cache
def _unet(key: FamilyKey) -> nn.Module:
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        # Without memory for weights: only names and shapes are asked.
        unet = UNet2DConditionModel.from_config(shipped_config(FAMILIES[key], "unet"))
    return cast("nn.Module", unet)  # from_config is typed as a tuple
