"""Whether the parts of a LoRA's module belong together, told from their shapes. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping

from trainer.lora.shapes import Shape
from trainer.lora.types import Algorithm, algorithm_in

PAIRS: Mapping[Algorithm, tuple[tuple[str, str], ...]] = {
    "lora": (("lora_up.weight", "lora_down.weight"),),
    "loha": (("hada_w1_a", "hada_w1_b"), ("hada_w2_a", "hada_w2_b")),
    "lokr": (("lokr_w1_a", "lokr_w1_b"), ("lokr_w2_a", "lokr_w2_b")),
    "glora": (("a1.weight", "a2.weight"), ("b1.weight", "b2.weight")),
}
"""Factors that make a matrix together: (out, rank) and (rank, in). LoKr may have the matrix instead."""


def is_torn(module: Mapping[str, Shape]) -> bool:
    """Whether parts are missing or not of one rank, or alpha is no single number."""
    if math.prod(module.get("alpha", ())) != 1:
        return True
    algorithm = algorithm_in(module)
    if algorithm is None:
        return any(part in module for pairs in PAIRS.values() for pair in pairs for part in pair)
    return not all(_is_whole(module, pair) for pair in PAIRS.get(algorithm, ())) or _is_other_length(module)


def _is_whole(module: Mapping[str, Shape], pair: tuple[str, str]) -> bool:
    """Whether both factors are there, of one rank; or what they would make."""
    left, right = (module.get(part) for part in pair)
    if left is None or right is None:
        return left is right and pair[0].removesuffix("_a") in module
    # With a core between them the rank comes first in both.
    return len(left) > 1 and len(right) > 1 and right[0] > 0 and right[0] in left[:2]


def _is_other_length(module: Mapping[str, Shape]) -> bool:
    """Whether DoRA's lengths are neither one per output nor one per input."""
    down, up = module.get("lora_down.weight"), module.get("lora_up.weight")
    if "dora_scale" not in module or not down or not up:
        return False
    return math.prod(module["dora_scale"]) not in (up[0], down[1])
