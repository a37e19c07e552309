"""The picture of a family's blocks: what the script draws it from."""

from __future__ import annotations

import re
from typing import Any

from trainer.families.family import Family
from trainer.families.module_names import LEVEL


def blocks(family: Family) -> dict[str, Any]:
    """Names of the blocks, which lie side by side, which field holds whose number, and which have modules."""
    family_blocks, side = family.blocks, family.side // family.latents.factor
    levels = len(family_blocks.down) // LEVEL
    return {
        "family": family.key,
        "names": [re.sub(r"0(?=\d$)", "", name) for name in family_blocks.names],
        "rows": [
            {
                "size": side >> level,
                "down": [*family_blocks.down[level * LEVEL : (level + 1) * LEVEL]],
                "up": [*family_blocks.up[(levels - 1 - level) * LEVEL : (levels - level) * LEVEL]],
            }
            for level in range(levels)
        ],
        "middle": [*family_blocks.mid],
        "down": [family_blocks.down.start, len(family_blocks.down)],
        "mid": [family_blocks.mid.start, len(family_blocks.mid)],
        "up": [family_blocks.up.start, len(family_blocks.up)],
        "attention": [*family_blocks.attention],
        "convolutions": [place for place in family_blocks.learning if place != family_blocks.down.start],
        "side": family.side,
    }
