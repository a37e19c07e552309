"""What a Stable Diffusion UNet is, told from the names and shapes of its tensors, in either layout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
UNET = "model.diffusion_model."
"""Beginning of the UNet's names in a one-file checkpoint."""
TRANSFORMERS = re.compile(
    r"(?:(?P<original>input_blocks)\.(?P<block>\d+)\.1"
    r"|(?P<diffusers>down_blocks)\.(?P<level>\d+)\.attentions\.\d+)\.transformer_blocks\.(?P<layer>\d+)\."
)


@dataclass(frozen=True)
class UNetFacts:
    """Sizes that tell UNets apart; 0 and () where the names do not show them."""

    inputs: int
    """Channels of its input: 4; an inpainting model has the mask and the picture besides."""
    context: int
    """Width of the text embeddings."""
    vector: int
    """Width of what it is told beside the text (SDXL: the pooled text, sizes and crop)."""
    depths: tuple[int, ...]
    """Transformer layers at each level that has any, from the outermost in: (2, 10) in SDXL."""
    middle: bool
    """Whether it has a middle block; distilled ones may lack it."""


def unet_facts(shapes: Shapes) -> UNetFacts | None:
    """Facts of a UNet by its tensors in Stability's or diffusers' layout, without prefix; None for none."""
    if not any(name.startswith(("input_blocks.", "down_blocks.0.resnets.")) for name in shapes):
        return None

    def width(names: tuple[str, ...]) -> int:
        return next((shapes[name][1] for name in names if len(shapes.get(name, ())) > 1), 0)

    return UNetFacts(
        inputs=width(("input_blocks.0.0.weight", "conv_in.weight")),
        context=next(
            (
                size[1]
                for name, size in shapes.items()
                if name.endswith("attn2.to_k.weight") and len(size) == 2
            ),
            0,
        ),
        vector=width(("label_emb.0.0.weight", "add_embedding.linear_1.weight")),
        depths=transformer_depths(shapes),
        middle=any(name.startswith(("middle_block.", "mid_block.")) for name in shapes),
    )


def transformer_depths(shapes: Shapes) -> tuple[int, ...]:
    """Transformer layers at each level on the way down that has any, counted from the names."""
    depths: dict[int, int] = {}
    for name in shapes:
        if place := TRANSFORMERS.match(name):
            level = (int(place["block"]) - 1) // 3 if place["original"] else int(place["level"])
            depths[level] = max(depths.get(level, 0), int(place["layer"]) + 1)
    return tuple(depths[level] for level in sorted(depths))
