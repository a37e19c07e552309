"""Which tensors a LoRA file holds for a module, and their shapes, for every algorithm.

Torch-free: adapters are built from it and the plan adds up file sizes with it. Names and shapes are kohya's
and LyCORIS' own. A module's shape is that of its weight: (out, in), (out, in, k, k), or (n,) of a norm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeVar

from trainer.lora.types import Algorithm, Options

Shape = tuple[int, ...]
Entries = dict[str, Shape]
Entry = TypeVar("Entry")
"""A shape, or a tensor."""


def entry_shapes(algorithm: Algorithm, shape: Shape, dim: int, options: Options, *, bias: bool) -> Entries:
    """Name -> shape of a module's learned tensors. Raises ValueError where BOFT cannot split `shape`."""
    entries = _ENTRIES[algorithm](shape, dim, options)
    if algorithm == "full" and bias:
        entries["diff_b"] = shape[:1]
    if options.dora:
        entries["dora_scale"] = (shape[0], *[1] * (len(shape) - 1))
    return entries


def by_module(entries: Mapping[str, Entry]) -> dict[str, dict[str, Entry]]:
    """A LoRA file's entries by module: {"lora_unet_x": {"alpha": …, "lora_down.weight": …}}."""
    modules: dict[str, dict[str, Entry]] = {}
    for key, found in entries.items():
        name, dot, entry = key.partition(".")
        if dot:
            modules.setdefault(name, {})[entry] = found
    return modules


def split(size: int, factor: int = -1) -> tuple[int, int]:
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


def rank_of(entries: Mapping[str, Shape]) -> int:
    """Rank of a module by its entries in a file; 0 where they do not show one."""
    rows = ("lora_down.weight", "hada_w1_b", "lokr_w2_b", "lokr_w1_b", "b2.weight")
    found = next((entries[name][0] for name in rows if name in entries), 0)
    return entries["oft_blocks"][-1] if "oft_blocks" in entries else found


def _lora(shape: Shape, dim: int, options: Options) -> Entries:
    out, inner, *kernel = shape
    ones = [1] * len(kernel)
    up = {"lora_up.weight": (out, dim, *ones)}
    if options.tucker and _is_wide(shape):
        middle = (dim, dim, *kernel)
        return {"lora_down.weight": (dim, inner, *ones), "lora_mid.weight": middle, **up}
    return {"lora_down.weight": (dim, inner, *kernel), **up}


def _dylora(shape: Shape, dim: int, options: Options) -> Entries:
    """Ranks in groups of `unit`: "lora_down.0", "lora_up.0", … (a file holds them joined)."""
    out, inner, *kernel = shape
    downs = {f"lora_down.{i}": (options.unit, inner, *kernel) for i in range(dim // options.unit)}
    ups = {f"lora_up.{i}": (out, options.unit, *[1] * len(kernel)) for i in range(dim // options.unit)}
    return {**downs, **ups}


def _loha(shape: Shape, dim: int, options: Options) -> Entries:
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


def _lokr(shape: Shape, dim: int, options: Options) -> Entries:
    out, inner, *kernel = shape
    (out_small, out_large), (in_small, in_large) = split(out, options.factor), split(inner, options.factor)
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


def _glora(shape: Shape, dim: int, _options: Options) -> Entries:
    out, inner, *kernel = shape
    ones = [1] * len(kernel)
    return {
        "a1.weight": (inner, dim, *ones),
        "a2.weight": (dim, inner, *ones),
        "b1.weight": (out, dim, *ones),
        "b2.weight": (dim, inner, *kernel),
    }


def _ia3(shape: Shape, _dim: int, options: Options) -> Entries:
    size = shape[1] if options.on_input else shape[0]
    return {"weight": (size,) if len(shape) == 2 else (1, size, *[1] * (len(shape) - 2))}


def _diag_oft(shape: Shape, dim: int, options: Options) -> Entries:
    block, count = split(shape[0], dim)
    entries: Entries = {"oft_blocks": (count, block, block)}
    return {**entries, **({"rescale": (shape[0], *[1] * (len(shape) - 1))} if options.rescaled else {})}


def _boft(shape: Shape, dim: int, _options: Options) -> Entries:
    block, count = butterfly(shape[0], dim)
    return {"oft_blocks": (count.bit_length(), count, block, block)}


def _full(shape: Shape, _dim: int, _options: Options) -> Entries:
    return {"diff": shape}


def _norm(shape: Shape, _dim: int, _options: Options) -> Entries:
    return {"w_norm": shape, "b_norm": shape}


def _is_wide(shape: Shape) -> bool:
    """Whether it is a convolution beyond 1x1."""
    return len(shape) > 2 and math.prod(shape[2:]) > 1


_ENTRIES: dict[Algorithm, Callable[[Shape, int, Options], Entries]] = {
    "lora": _lora,
    "dylora": _dylora,
    "loha": _loha,
    "lokr": _lokr,
    "glora": _glora,
    "ia3": _ia3,
    "diag-oft": _diag_oft,
    "boft": _boft,
    "full": _full,
    "norm": _norm,
}
