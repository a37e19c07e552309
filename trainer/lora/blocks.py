"""What the tabs Weights, Blocks and Conv say of the UNet's blocks: 25 in SD1 and SD2, 23 in SDXL.

Torch-free: the page draws them too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from trainer import settings as schema
from trainer.errors import UserError
from trainer.families.family import Blocks
from trainer.lora.types import conv_size

RATE_FIELDS: tuple[str, ...] = ("down_lr_weight", "mid_lr_weight", "up_lr_weight")
SIZE_FIELDS = ("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas")
CURVES: dict[str, Callable[[int, int], float]] = {
    "cosine": lambda i, last: math.sin(math.pi / 2 * (last - i) / last),
    "sine": lambda i, last: math.sin(math.pi / 2 * i / last),
    "linear": lambda i, last: i / last,
    "reverse_linear": lambda i, last: (last - i) / last,
    "zeros": lambda i, last: 0.0,  # noqa: ARG005  # all curves are called alike
}
"""Factor of block `i` of 0 … `last` of one side."""


def block_rates(network: schema.Network, blocks: Blocks) -> list[float] | None:
    """Factor of the UNet rate for each block; None where no weights are given.

    At or under the threshold it is 0: such a block gets no LoRA. Raises UserError for a bad entry.
    """
    given = (network.down_lr_weight, network.mid_lr_weight, network.up_lr_weight)
    threshold = _number(network.block_lr_zero_threshold, "block_lr_zero_threshold", 0.0)
    if not any(text.strip() for text in given):
        return None
    rates = [1.0] * len(blocks)  # what lies before, and behind, all sides (SDXL) has no entry
    for key, text, places in zip(RATE_FIELDS, given, (blocks.down, blocks.mid, blocks.up), strict=True):
        for place, value in zip(places, _side(text, key, len(places)), strict=True):
            rates[place] = 0.0 if value <= threshold else value
    return rates


def _side(text: str, setting: str, count: int) -> list[float]:
    """Factors of one side from a list, or from a curve such as `cosine+.25`; what is missing is 1."""
    text = text.strip()
    name, _, base = text.partition("+")
    if name.strip() in CURVES and count > 1 and setting != "mid_lr_weight":
        offset = _number(base, setting, 0.0)
        return [CURVES[name.strip()](i, count - 1) + offset for i in range(count)]
    values = [_number(item, setting, 0.0) for item in text.split(",")] if text else []
    return [*values, *[1.0] * count][:count]


LARGEST_PER_BLOCK = 100_000
"""Of ranks, alphas and factors per block: what one field for all may be."""


def _number(text: str, setting: str, blank: float) -> float:
    if not text.strip():
        return blank
    try:
        number = float(text)
    except ValueError as error:
        raise UserError("core.blocks_not_a_number", setting, text=text.strip()[:60]) from error
    if not abs(number) <= LARGEST_PER_BLOCK:  # NaN and infinity too
        raise UserError("core.blocks_not_a_number", setting, text=text.strip()[:60])
    return number


def block_sizes(text: str, setting: str, blocks: Blocks) -> list[float] | None:
    """A number for each block, of "Block dims" and its kin; None where the field is blank."""
    if not text.strip():
        return None
    values = [_number(item, setting, 0.0) for item in text.split(",")]
    if len(values) != len(blocks):
        raise UserError("core.blocks_count", setting, count=len(values), wanted=len(blocks))
    return values


def sizes_of(network: schema.Network, blocks: Blocks, *, conv: bool) -> Sequence[tuple[int, float]] | None:
    """(dim, alpha) for each block: of Linear layers, or with `conv` of 3x3 convolutions.

    None: 3x3 convolutions get no LoRA.
    """
    if network.LoRA_type not in schema.BLOCKWISE:
        network = network.model_copy(update=dict.fromkeys(SIZE_FIELDS, ""))
    if conv:
        dims = block_sizes(network.conv_block_dims, "conv_block_dims", blocks)
        alphas = block_sizes(network.conv_block_alphas, "conv_block_alphas", blocks)
        chosen = conv_size(network)
        if dims is None and chosen is None:
            return None
        dim, alpha = chosen or (network.conv_dim, network.conv_alpha)
    else:
        dims = block_sizes(network.block_dims, "block_dims", blocks)
        alphas = block_sizes(network.block_alphas, "block_alphas", blocks)
        dim, alpha = network.network_dim, network.network_alpha
    whole_dims = [int(value) for value in dims] if dims else [dim] * len(blocks)
    pairs = zip(whole_dims, alphas or [alpha] * len(blocks), strict=True)
    return [(size, strength or float(size)) for size, strength in pairs]  # 0 stands for the rank
