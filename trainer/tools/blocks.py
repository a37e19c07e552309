"""Which part of a model a LoRA's module belongs to, for people."""

from __future__ import annotations

import re

BLOCK_OF_MODULE = re.compile(
    r"lora_(?:unet_(?P<unet>(?:down_blocks|up_blocks|input_blocks|output_blocks)_\d+|mid_block|middle_block)"
    r"|(?P<te>te\d?)_)"
)
"""Names of kohya's files: diffusers' blocks, or (SDXL) those of the original layout."""


def block_of(module: str) -> str:
    """ "down_blocks.1", "mid_block", "te1"; "other" for what lies in no block."""
    found = BLOCK_OF_MODULE.match(module)
    if not found:
        return "other"
    return found["te"] or re.sub(r"_(\d+)$", r".\1", found["unet"])
