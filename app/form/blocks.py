"""The picture of a family's blocks: what the script draws it from."""

from __future__ import annotations

import re
from typing import Any

from trainer.families.family import Family
from trainer.families.module_names import LEVEL


def blocks(family: Family) -> dict[str, Any]:
    """Names of the blocks, which lie side by side, which field holds whose number, and which have modules."""
    found, side = family.blocks, family.side // family.latents.factor
    levels = len(found.down) // LEVEL
    return {
        "family": family.key,
        "names": [re.sub(r"0(?=\d$)", "", name) for name in found.names],
        "rows": [
            {
                "size": side >> level,
                "down": [*found.down[level * LEVEL : (level + 1) * LEVEL]],
                "up": [*found.up[(levels - 1 - level) * LEVEL : (levels - level) * LEVEL]],
            }
            for level in range(levels)
        ],
        "middle": [*found.mid],
        "down": [found.down.start, len(found.down)],
        "mid": [found.mid.start, len(found.mid)],
        "up": [found.up.start, len(found.up)],
        "attention": [*found.attention],
        "convolutions": [place for place in found.learning if place != found.down.start],
        "side": family.side,
    }
