"""Which tensors a LoRA file holds for a module, and their shapes: a function for each algorithm.

Torch-free: adapters are built from it and the plan adds up file sizes with it. Names and shapes are kohya's
and LyCORIS' own. A module's shape is that of its weight: (out, in), (out, in, k, k), or (n,) of a norm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from trainer.families.unet import Shape

Entries = dict[str, Shape]
ShapeOrTensor = TypeVar("ShapeOrTensor")
"""A shape, or a tensor."""


@dataclass(frozen=True)
class AlgorithmOptions:
    """How an algorithm splits its weights."""

    factor: int = -1
    """ "LoKr factor"."""
    decompose_both: bool = False
    tucker: bool = False
    """A core tensor for convolutions ("Use Tucker decomposition")."""
    dora: bool = False
    """Lengths of the rows learn apart from their directions (arXiv 2402.09353)."""
    scalar: bool = False
    """A strength that starts at 0 and learns ("Use Scalar")."""
    rescaled: bool = False
    on_input: bool = True
    constraint: float = 0.0
    """ "Constrain OFT"; 0: none."""
    unit: int = 1
    """Ranks that DyLoRA trains at a time."""


def by_module(entries: Mapping[str, ShapeOrTensor]) -> dict[str, dict[str, ShapeOrTensor]]:
    """A LoRA file's entries by module: {"lora_unet_x": {"alpha": …, "lora_down.weight": …}}."""
    modules: dict[str, dict[str, ShapeOrTensor]] = {}
    for key, found in entries.items():
        name, dot, entry = key.partition(".")
        if dot:
            modules.setdefault(name, {})[entry] = found
    return modules


def split_size(size: int, factor: int = -1) -> tuple[int, int]:
    """`size` as a product m·n with m <= n: m is `factor` where that divides, else the largest m below it.

    128 -> 8·16; with factor 4 -> 4·32 (LyCORIS' rule for LoKr and OFT; -1: as even as possible).
    """
    if factor > 0 and size % factor == 0:
        return min(factor, size // factor), max(factor, size // factor)
    limit = size if factor < 0 else factor
    small = max((m for m in range(1, math.isqrt(size) + 1) if size % m == 0 and m <= limit), default=1)
    return small, size // small


def butterfly(size: int, largest: int) -> tuple[int, int]:
    """(block size, number of blocks) of BOFT: the largest even block up to `largest` that leaves 2^n blocks.

    Raises ValueError where there is none.
    """
    count = 1
    while size % count == 0 and size // count > largest:
        count *= 2
    block = size // count
    if size % count or block % 2:
        raise ValueError(size)
    return block, count


def lora(shape: Shape, dim: int, options: AlgorithmOptions) -> Entries:
    """Two factors; with Tucker decomposition a core for convolutions between them."""
    out, inner, *kernel = shape
    ones = [1] * len(kernel)
    up = {"lora_up.weight": (out, dim, *ones)}
    if options.tucker and _is_wide(shape):
        middle = (dim, dim, *kernel)
        return {"lora_down.weight": (dim, inner, *ones), "lora_mid.weight": middle, **up}
    return {"lora_down.weight": (dim, inner, *kernel), **up}


def dylora(shape: Shape, dim: int, options: AlgorithmOptions) -> Entries:
    """Ranks in groups of `unit`: "lora_down.0", "lora_up.0", … (a file holds them joined)."""
    out, inner, *kernel = shape
    downs = {f"lora_down.{i}": (options.unit, inner, *kernel) for i in range(dim // options.unit)}
    ups = {f"lora_up.{i}": (out, options.unit, *[1] * len(kernel)) for i in range(dim // options.unit)}
    return {**downs, **ups}


def loha(shape: Shape, dim: int, options: AlgorithmOptions) -> Entries:
    """Two products of two factors, multiplied number by number."""
    out, inner, *kernel = shape
    if options.tucker and _is_wide(shape):
        one = {"t": (dim, dim, *kernel), "a": (dim, out), "b": (dim, inner)}
    else:
        one = {"a": (out, dim), "b": (dim, inner * math.prod(kernel))}
    return {
        (f"hada_t{side}" if part == "t" else f"hada_w{side}_{part}"): size
        for side in (1, 2)
        for part, size in one.items()
    }


def lokr(shape: Shape, dim: int, options: AlgorithmOptions) -> Entries:
    """Two factors of a Kronecker product, each whole or of two parts."""
    out, inner, *kernel = shape
    (out_small, out_large), (in_small, in_large) = (
        split_size(out, options.factor),
        split_size(inner, options.factor),
    )
    entries: Entries = {"lokr_w1": (out_small, in_small)}
    if options.decompose_both and dim < max(out_small, in_small) / 2:
        entries = {"lokr_w1_a": (out_small, dim), "lokr_w1_b": (dim, in_small)}
    if dim >= max(out_large, in_large) / 2:
        return {**entries, "lokr_w2": (out_large, in_large, *kernel)}
    if options.tucker and _is_wide(shape):
        core = {"lokr_t2": (dim, dim, *kernel)}
        return {**entries, **core, "lokr_w2_a": (dim, out_large), "lokr_w2_b": (dim, in_large)}
    return {
        **entries,
        "lokr_w2_a": (out_large, dim),
        "lokr_w2_b": (dim, in_large * math.prod(kernel)),
    }


def glora(shape: Shape, dim: int, _options: AlgorithmOptions) -> Entries:
    """Two pairs of factors: one changes the weight by the weight, one adds."""
    out, inner, *kernel = shape
    ones = [1] * len(kernel)
    return {
        "a1.weight": (inner, dim, *ones),
        "a2.weight": (dim, inner, *ones),
        "b1.weight": (out, dim, *ones),
        "b2.weight": (dim, inner, *kernel),
    }


def ia3(shape: Shape, _dim: int, options: AlgorithmOptions) -> Entries:
    """A factor for each input or output."""
    size = shape[1] if options.on_input else shape[0]
    return {"weight": (size,) if len(shape) == 2 else (1, size, *[1] * (len(shape) - 2))}


def diag_oft(shape: Shape, dim: int, options: AlgorithmOptions) -> Entries:
    """Rotations of blocks of outputs."""
    block, count = split_size(shape[0], dim)
    entries: Entries = {"oft_blocks": (count, block, block)}
    return {**entries, **({"rescale": (shape[0], *[1] * (len(shape) - 1))} if options.rescaled else {})}


def boft(shape: Shape, dim: int, _options: AlgorithmOptions) -> Entries:
    """Rotations of blocks of outputs, in several layers."""
    block, count = butterfly(shape[0], dim)
    return {"oft_blocks": (count.bit_length(), count, block, block)}


def full(shape: Shape, _dim: int, _options: AlgorithmOptions) -> Entries:
    """The whole change."""
    return {"diff": shape}


def norm(shape: Shape, _dim: int, _options: AlgorithmOptions) -> Entries:
    """Changes of a norm's weight and bias."""
    return {"w_norm": shape, "b_norm": shape}


def _is_wide(shape: Shape) -> bool:
    """Whether it is a convolution beyond 1x1."""
    return len(shape) > 2 and math.prod(shape[2:]) > 1
