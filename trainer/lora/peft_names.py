"""LoRA files as diffusers, PEFT and LyCORIS' wrapper write them: their names in kohya's form. Loads no torch.

unet.mid_block.attentions.0.proj_in.lora_A.weight: lora_unet_mid_block_attentions_0_proj_in.lora_down.weight.
The endings of all ages are those in diffusers' utils/state_dict_utils.py. Files for SDXL may name their
modules in diffusers' way (lora_unet_down_blocks_…) instead of Stability's (lora_unet_input_blocks_…).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from trainer.families.lora_family import lora_family
from trainer.families.table import FAMILIES, SD1
from trainer.families.unet import Shapes
from trainer.settings import FamilyKey

Value = TypeVar("Value")
DENOISER = re.compile(r"^(?:lora_unet|lycoris)_([^.]+)")
"""Module names with kohya's prefix, and with that of LyCORIS' wrapper."""
PART_PATTERN = re.compile(
    r"^(?:base_model\.model\.)?(unet|text_encoder(?:_2)?)\.(?:base_model\.model\.)?(.+)$"
)
BARE_UNET = re.compile(
    r"^(?:base_model\.model\.)?((?:down_blocks|mid_block|up_blocks|conv_in|conv_out|time_embedding)\..+)$"
)
"""What is saved of a UNet alone: by PEFT itself, and by diffusers before 2023."""
OLD = re.compile(r"\.processor\.(to_(?:q|k|v|out))_lora(?=\.)")
SIDE_PATTERN = re.compile(
    r"\.(?:(?:lora|lora_linear_layer)\.(down|up)|lora_([AB])(?:\.default(?:_\d+)?)?|(down|up))\.weight$"
)
SIDE_OF = {"A": "down", "B": "up", "down": "down", "up": "up"}


def kohya_key(name: str, family: FamilyKey = SD1.key) -> str:
    """A tensor's name in kohya's form; "" for what is none of a LoRA in diffusers' form."""
    bare = BARE_UNET.match(name)
    found = PART_PATTERN.match(f"unet.{bare[1]}" if bare else name)
    if not found:
        return ""
    part, path = found.groups()
    path = OLD.sub(lambda old: f".{old[1]}" + (".0" if old[1] == "to_out" else ""), path)
    if path.endswith(".alpha"):
        module, entry = path.removesuffix(".alpha"), "alpha"
    elif side := SIDE_PATTERN.search(path):
        module, entry = path[: side.start()], f"lora_{SIDE_OF[side[1] or side[2] or side[3]]}.weight"
    else:
        return ""
    return f"{_module(part, module, family)}.{entry}"


def _module(part: str, path: str, family: FamilyKey) -> str:
    facts = FAMILIES[family]
    if part == "unet":
        return facts.lora_key(path)
    return facts.text_key(min(int(part == "text_encoder_2"), len(facts.text_encoders) - 1), path)


def in_kohyas_form(tensors: Mapping[str, Value], shapes: Shapes) -> dict[str, Value]:
    """The tensors under kohya's names; as they are where they have these already."""
    key = lora_family(shapes, {}) or SD1.key
    family = FAMILIES[key]
    return {
        DENOISER.sub(lambda found: family.lora_key(found[1]), kohya_key(name, key) or name): value
        for name, value in tensors.items()
    }
