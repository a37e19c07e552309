"""Where a module of the UNet stands: its name in LoRA files, its place in the reference's order, its block.

The files for SD1 and SD2 use diffusers' paths, those for SDXL Stability's original ones:
down_blocks.1.attentions.0.proj_in is input_blocks.4.1.proj_in. All paths may be written with dots, or with
underscores as in a LoRA key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

LEVEL = 3
"""Blocks per level: two layers and what changes the size (down), or three layers (up)."""
UNET_PLACE = re.compile(
    r"(?P<side>down|up)_blocks[._](?P<level>\d+)[._]"
    r"(?P<kind>resnets|attentions|downsamplers|upsamplers)[._](?P<place>\d+)[._]?(?P<rest>.*)"
)
MIDDLE = re.compile(r"mid_block[._](?P<kind>resnets|attentions)[._](?P<place>\d+)[._]?(?P<rest>.*)")
RESNET: Mapping[str, str] = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
OUTSIDE: Mapping[str, str] = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def original_name(path: str) -> str:
    """Stability's path of a module of SDXL's UNet, by diffusers'; a path that is none comes back as it is."""
    for theirs, original in OUTSIDE.items():
        if path in (theirs, theirs.replace(".", "_")):
            return original
    if middle := MIDDLE.fullmatch(path):
        place = 1 if middle["kind"] == "attentions" else 2 * int(middle["place"])
        return _joined(f"middle_block.{place}", _inner(middle["kind"], middle["rest"]))
    found = UNET_PLACE.fullmatch(path)
    if not found:
        return path
    kind, first = found["kind"], LEVEL * int(found["level"])
    if kind == "downsamplers":
        return f"input_blocks.{first + LEVEL}.0.op"
    if kind == "upsamplers":
        return f"output_blocks.{first + LEVEL - 1}.2.conv"
    number = first + int(found["place"])
    block = f"input_blocks.{number + 1}" if found["side"] == "down" else f"output_blocks.{number}"
    return _joined(f"{block}.{int(kind == 'attentions')}", _inner(kind, found["rest"]))


def _inner(kind: str, rest: str) -> str:
    return RESNET.get(rest, rest) if kind == "resnets" else rest


def _joined(block: str, rest: str) -> str:
    return f"{block}.{rest}" if rest else block


def diffusers_name(path: str) -> str:
    """diffusers' own path: what the files for SD1 and SD2 use."""
    return path


def diffusers_block(name: str) -> int | None:
    """Place of a module among IN00-IN11, MID, OUT00-OUT11; None for one outside of these."""
    if "mid_block" in name:
        return 12
    place = UNET_PLACE.search(name)
    if not place:
        return None
    number = LEVEL * int(place["level"])
    number += LEVEL - 1 if place["kind"].endswith("samplers") else int(place["place"])
    return 1 + number if place["side"] == "down" else 13 + number


ORIGINAL_BLOCK = re.compile(r"(input_blocks|middle_block|output_blocks)[._](\d+)[._]")
ORIGINAL_FIRST = {"input_blocks": 1, "middle_block": 10, "output_blocks": 13}


def original_block(name: str) -> int | None:
    """Place of a module of SDXL among the 23 numbers: 1-9 down, 10-12 middle, 13-21 up.

    0 stands for the embeddings of time and sizes, 22 for the last convolution. None for none of these.
    """
    place = ORIGINAL_BLOCK.search(name)
    if place:
        return ORIGINAL_FIRST[place[1]] + int(place[2])
    if re.search(r"(time_embed|label_emb)[._]", name):
        return 0
    return 22 if re.search(r"(^|lora_unet_)out[._]\d", name) else None


DIFFUSERS_ORDER: Mapping[str, int] = {
    "conv_in": -2, "time_embedding": -1, "linear_1": 0, "linear_2": 1, "down_blocks": 0, "up_blocks": 1,
    "mid_block": 2, "attentions": 0, "resnets": 1, "downsamplers": 2, "upsamplers": 2, "proj_in": 0,
    "transformer_blocks": 1, "proj_out": 2, "conv1": 0, "time_emb_proj": 1, "conv2": 2, "conv_shortcut": 3,
    "conv": 0, "attn1": 0, "ff": 1, "attn2": 2, "to_q": 0, "to_k": 1, "to_v": 2, "to_out": 3, "net": 0,
    "proj": 0,
}  # fmt: skip
"""The reference's UNet class for SD1 and SD2: attention before resnets, feed-forward before cross
attention, the middle last."""
ORIGINAL_ORDER: Mapping[str, int] = {
    **DIFFUSERS_ORDER, "time_embed": -2, "label_emb": -1, "input_blocks": 0, "middle_block": 1,
    "output_blocks": 2, "out": 3, "in_layers": 0, "emb_layers": 1, "out_layers": 2, "skip_connection": 3,
}  # fmt: skip
"""Its class for SDXL: as the original."""


def diffusers_order(path: str) -> list[int]:
    """Sort key of a module of SD1 or SD2, by diffusers' path."""
    return _order(path, DIFFUSERS_ORDER)


def original_order(path: str) -> list[int]:
    """Sort key of a module of SDXL, by diffusers' path."""
    return _order(original_name(path), ORIGINAL_ORDER)


def _order(path: str, ranks: Mapping[str, int]) -> list[int]:
    return [int(piece) if piece.isdigit() else ranks.get(piece, 9) for piece in path.split(".")]
