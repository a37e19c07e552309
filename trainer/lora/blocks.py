"""The UNet's 25 blocks (IN00-IN11, MID, OUT00-OUT11) and what the tabs Weights, Blocks and Conv say of them.

Torch-free: the page draws them too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from trainer import settings as schema
from trainer.errors import UserError
from trainer.lora.types import conv_size

BLOCK_COUNT = 25
SIZE_FIELDS = ("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas")
SIDE = 12  # blocks on the way down, and on the way up
MID = 12
BLOCK_NAMES = (*(f"IN{i:02d}" for i in range(SIDE)), "MID", *(f"OUT{i:02d}" for i in range(SIDE)))

WITHOUT_ATTENTION = (0, 3, 6, 9, 10, 11, 13, 14, 15)
"""Positions where no attention sits: IN00 IN03 IN06 IN09-IN11 OUT00-OUT02."""

_PLACE = re.compile(r"(up|down)_blocks[._](\d+)[._](resnets|upsamplers|downsamplers|attentions)[._](\d+)")


def block_index(name: str) -> int | None:
    """Number of the block (0-24) of a UNet module or kohya key; None for one outside the blocks."""
    if "mid_block" in name:
        return MID
    found = _PLACE.search(name)
    if not found:
        return None
    side, level, kind, position = found[1], int(found[2]), found[3], int(found[4])
    within = 2 if kind.endswith("samplers") else position
    index = 3 * level + within
    return 1 + index if side == "down" else MID + 1 + index


CURVES: dict[str, Callable[[int], float]] = {
    "cosine": lambda i: math.sin(math.pi / 2 * (SIDE - 1 - i) / (SIDE - 1)),
    "sine": lambda i: math.sin(math.pi / 2 * i / (SIDE - 1)),
    "linear": lambda i: i / (SIDE - 1),
    "reverse_linear": lambda i: (SIDE - 1 - i) / (SIDE - 1),
    "zeros": lambda i: 0.0,  # noqa: ARG005  # all curves are called alike
}


def block_rates(network: schema.Network) -> list[float] | None:
    """Factor of the UNet rate for each of the 25 blocks; None where no weights are given.

    At or under the threshold it is 0: such a block gets no LoRA. Raises UserError for a bad entry.
    """
    given = (network.down_lr_weight, network.mid_lr_weight, network.up_lr_weight)
    if not any(text.strip() for text in given):
        return None
    threshold = _number(network.block_lr_zero_threshold, "block_lr_zero_threshold", 0.0)
    down = _side(network.down_lr_weight, "down_lr_weight")
    up = _side(network.up_lr_weight, "up_lr_weight")
    middle = _number(network.mid_lr_weight.split(",")[0], "mid_lr_weight", 1.0)
    return [0.0 if value <= threshold else value for value in (*down, middle, *up)]


def _side(text: str, setting: str) -> list[float]:
    """12 factors from a list, or from a curve such as `cosine+.25`; what is missing is 1."""
    text = text.strip()
    name, _, base = text.partition("+")
    if name.strip() in CURVES:
        offset = _number(base, setting, 0.0)
        return [CURVES[name.strip()](i) + offset for i in range(SIDE)]
    values = [_number(item, setting, 0.0) for item in text.split(",")] if text else []
    return [*values, *[1.0] * SIDE][:SIDE]


LARGEST = 100_000
"""Of ranks, alphas and factors per block: what one field for all may be."""


def _number(text: str, setting: str, blank: float) -> float:
    if not text.strip():
        return blank
    try:
        number = float(text)
    except ValueError as error:
        raise UserError("core.blocks_not_a_number", setting, text=text.strip()[:60]) from error
    if not abs(number) <= LARGEST:  # NaN and infinity too
        raise UserError("core.blocks_not_a_number", setting, text=text.strip()[:60])
    return number


def block_sizes(text: str, setting: str) -> list[float] | None:
    """25 numbers of "Block dims" and its kin; None where the field is blank."""
    if not text.strip():
        return None
    values = [_number(item, setting, 0.0) for item in text.split(",")]
    if len(values) != BLOCK_COUNT:
        raise UserError("core.blocks_count", setting, count=len(values))
    return values


def sizes_of(network: schema.Network, *, conv: bool) -> Sequence[tuple[int, float]] | None:
    """(dim, alpha) for each of the 25 blocks: of Linear layers, or with `conv` of 3x3 convolutions.

    None: 3x3 convolutions get no LoRA.
    """
    if network.LoRA_type not in schema.BLOCKWISE:
        network = network.model_copy(update=dict.fromkeys(SIZE_FIELDS, ""))
    if conv:
        dims = block_sizes(network.conv_block_dims, "conv_block_dims")
        alphas = block_sizes(network.conv_block_alphas, "conv_block_alphas")
        chosen = conv_size(network)
        if dims is None and chosen is None:
            return None
        dim, alpha = chosen or (network.conv_dim, network.conv_alpha)
    else:
        dims = block_sizes(network.block_dims, "block_dims")
        alphas = block_sizes(network.block_alphas, "block_alphas")
        dim, alpha = network.network_dim, network.network_alpha
    whole_dims = [int(value) for value in dims] if dims else [dim] * BLOCK_COUNT
    pairs = zip(whole_dims, alphas or [alpha] * BLOCK_COUNT, strict=True)
    return [(size, strength or float(size)) for size, strength in pairs]  # 0 stands for the rank
