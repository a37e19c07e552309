"""What a LoRA file's tensors do to a weight, and a change of a weight as low-rank factors.

For tools that work on files: no model is needed but, for some types, the weight itself. Shapes: a weight is
(out, in) or (out, in, k, k); its factors are up (out, r[, 1, 1]) and down (r, in[, k, k]).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainer.errors import UserError
from trainer.lora.shapes import AlgorithmOptions, Shape
from trainer.lora.target import LoraTarget
from trainer.lora.types import NEEDS_WEIGHT, Algorithm, algorithm_in, rank_of
from trainer.network.adapters.adapter import Dropouts, Mode
from trainer.network.adapters.build import adapter_class
from trainer.network.adapters.change import WeightChange
from trainer.network.adapters.products import LowRankChange
from trainer.network.adapters.whole import whole_change
from trainer.network.spectra import (
    NO_CHANGE,
    Factors,
    RankRule,
    Spectrum,
    choose_rank,
    clamped,
    spectrum_of,
    spectrum_of_factors,
    spectrum_of_product,
)
from trainer.problems import some_names

PRODUCTS: tuple[Algorithm, ...] = ("lora", "loha", "lokr")
"""Their change is a product of what is in the file, and of nothing else."""
MOST_SIZES = 6
"""Tensors that are listed where their sizes do not fit."""


def algorithm_of_entries(entries: Mapping[str, Tensor]) -> Algorithm | None:
    """The algorithm of a module's entries in a file (`lora.shapes`)."""
    return algorithm_in({name: tuple(tensor.shape) for name, tensor in entries.items()})


def scale_of(entries: Mapping[str, Tensor]) -> float:
    """alpha / rank of a module's entries (`lora.shapes`); 1 where a file has no alpha."""
    rank = rank_of({name: tuple(tensor.shape) for name, tensor in entries.items()})
    return float(entries["alpha"]) / rank if "alpha" in entries and rank else 1.0


def factors_of(entries: Mapping[str, Tensor]) -> Factors | None:
    """(out, r) and (r, in·k·k) of a plain LoRA or LoCon, float32, alpha in `up`; None for other types."""
    if algorithm_of_entries(entries) != "lora" or {"lora_mid.weight", "dora_scale"} & entries.keys():
        return None
    up, down = (entries[f"lora_{side}.weight"].float().flatten(1) for side in ("up", "down"))
    return Factors(up * scale_of(entries), down)


def change_of(entries: Mapping[str, Tensor], weight: Tensor | None = None, shape: Shape = ()) -> Tensor:
    """ΔW (float32, in the weight's shape) of a module's entries, as training computes it.

    `weight` is needed by DoRA and by the types in NEEDS_WEIGHT; without it `shape` (default: told by the
    entries) is the weight's. Raises UserError where the weight is needed and missing, or nothing is known of
    such entries, or the sizes do not fit.
    """
    algorithm = algorithm_of_entries(entries)
    if algorithm is None or algorithm == "norm":
        raise UserError("tools.unknown_type", names=some_names(sorted(entries), MOST_SIZES))
    if weight is None and (algorithm in NEEDS_WEIGHT or "dora_scale" in entries):
        raise UserError("tools.needs_model")
    shape = shape if weight is None else tuple(weight.shape)
    with _sizes_told(entries, shape):
        layer = _stand_in(shape or weight_shape(entries))
        if weight is not None:
            if algorithm not in NEEDS_WEIGHT:
                require_size(entries, weight_shape(entries), shape)
            layer.weight = nn.Parameter(weight.detach().float(), requires_grad=False)
        adapter, own = _adapter(algorithm, entries, layer)
        # The one reference of every type, so that a tool and a training never disagree.
        return whole_change(adapter, own).detach()


def spectrum_of_entries(entries: Mapping[str, Tensor]) -> Spectrum:
    """Of ΔW of a module's entries, by its factors where its type has such. Raises as `change_of`."""
    algorithm = algorithm_of_entries(entries)
    if algorithm not in PRODUCTS or "dora_scale" in entries:
        return spectrum_of(change_of(entries))
    with _sizes_told(entries, ()):
        adapter, own = _adapter(algorithm, entries, _stand_in(weight_shape(entries)))
        strength = adapter.scale * float(own.get("scalar", 1.0))
        return spectrum_of_product(adapter.change(own)).times(strength)


@contextmanager
def _sizes_told(entries: Mapping[str, Tensor], shape: Shape) -> Iterator[None]:
    """Sizes that contradict each other show in many ways, in whatever operation meets them first."""
    try:
        yield
    except (RuntimeError, ValueError, LookupError) as error:
        raise UserError("tools.sizes", names=_sizes(entries, shape)) from error


def require_size(entries: Mapping[str, Tensor], changed: Shape, weight: Shape) -> None:
    """Raise UserError where entries that change a weight of one shape are for one of another."""
    # Files disagree about 1x1 convolutions, and whether a kernel stands in sizes of its own.
    if (changed[0], math.prod(changed[1:])) != (weight[0], math.prod(weight[1:])):
        raise UserError("tools.sizes", names=_sizes(entries, weight))


def _sizes(entries: Mapping[str, Tensor], weight: Shape) -> list[str]:
    """["320x768", "lora_down.weight 4x1024", "lora_up.weight 320x4"], that of the weight first."""
    whole = {entry: tuple(tensor.shape) for entry, tensor in sorted(entries.items()) if tensor.dim()}
    told = [f"{entry} {as_text(shape)}" for entry, shape in whole.items()]
    return some_names([*([as_text(weight)] if weight else []), *told], MOST_SIZES)


def as_text(shape: Shape) -> str:
    """ "320x4x1x1"."""
    return "x".join(map(str, shape))


def _adapter(
    algorithm: Algorithm, entries: Mapping[str, Tensor], layer: nn.Linear | nn.Conv2d
) -> tuple[WeightChange, dict[str, Tensor]]:
    """The adapter that trains this type, for a layer, and what it computes with, in float32."""
    shapes = {name: tuple(t.shape) for name, t in entries.items() if name not in ("alpha", "on_input")}
    dim = rank_of(shapes) or 1
    alpha = float(entries["alpha"]) if "alpha" in entries else float(dim)
    # LyCORIS takes alpha / rank for 1 there, whatever the file says.
    if "lokr_w1" in shapes and "lokr_w2" in shapes:  # two whole factors: no alpha counts
        alpha = float(dim)
    options = AlgorithmOptions(
        dora="dora_scale" in shapes,
        rescaled="rescale" in shapes,
        on_input=bool(entries["on_input"]) if "on_input" in entries else True,
        constraint=alpha if algorithm == "diag-oft" and "alpha" in entries else 0.0,
    )
    kind = LowRankChange if algorithm == "lora" else adapter_class(algorithm)
    target = LoraTarget("", "unet", "", dim, alpha, algorithm=algorithm)
    adapter = kind(target, layer, shapes, options, Dropouts(), Mode())
    return adapter, {name: entries[name].float() for name in shapes if name != "diff_b"}


def _stand_in(shape: Shape) -> nn.Linear | nn.Conv2d:
    """A layer whose weight has this shape and no memory."""
    with torch.device("meta"):
        if len(shape) == 2:
            # Only its shape and operation are asked.
            return nn.Linear(shape[1], shape[0], bias=False)
        return nn.Conv2d(shape[1], shape[0], (shape[2], shape[3]), bias=False)


def weight_shape(entries: Mapping[str, Tensor]) -> Shape:
    """(out, in) or (out, in, k, k) of the weight that entries change. Raises UserError where none tell it."""
    size = {name: tuple(tensor.shape) for name, tensor in entries.items()}
    if "diff" in size:
        return size["diff"]
    if "lora_up.weight" in size and "lora_down.weight" in size:
        kernel = size.get("lora_mid.weight", size["lora_down.weight"])[2:]
        return (size["lora_up.weight"][0], size["lora_down.weight"][1], *kernel)
    if "hada_t1" in size:
        return (size["hada_w1_a"][1], size["hada_w1_b"][1], *size["hada_t1"][2:])
    if "hada_w1_a" in size:
        return size["hada_w1_a"][0], size["hada_w1_b"][1]
    if "lokr_w1" in size or "lokr_w1_a" in size:
        return _kronecker_shape(size)
    raise UserError("tools.needs_model")


def with_kernel(shape: Shape, kernel: Shape) -> Shape:
    """(out, in · k · k) as (out, in, k, k); the shape itself where that is none of such a kernel."""
    size = math.prod(kernel)
    match shape:
        case (out, wide) if wide % size == 0:
            return (out, wide // size, *kernel)
        case _:
            return shape


def _kronecker_shape(size: Mapping[str, Shape]) -> Shape:
    small = size.get("lokr_w1") or (size["lokr_w1_a"][0], size["lokr_w1_b"][1])
    if "lokr_w2" in size:
        large = size["lokr_w2"]
    elif "lokr_t2" in size:
        large = (size["lokr_w2_a"][1], size["lokr_w2_b"][1], *size["lokr_t2"][2:])
    else:
        large = (size["lokr_w2_a"][0], size["lokr_w2_b"][1])
    return (small[0] * large[0], small[1] * large[1], *large[2:])


def entries_of(factors: Factors, shape: Shape, alpha: float) -> dict[str, Tensor]:
    """A file's entries: up (out, r[, 1, 1]), down (r, in[, k, k]) alpha (), which is out of `up`."""
    rank = factors.down.shape[0]
    up = factors.up * (rank / alpha) if alpha != rank else factors.up
    if len(shape) > 2:
        ones = [1] * (len(shape) - 2)
        return {
            "lora_up.weight": up.reshape(shape[0], rank, *ones).contiguous(),
            "lora_down.weight": factors.down.reshape(rank, *shape[1:]).contiguous(),
            "alpha": torch.tensor(float(alpha)),
        }
    return {
        "lora_up.weight": up.contiguous(),
        "lora_down.weight": factors.down.contiguous(),
        "alpha": torch.tensor(float(alpha)),
    }


class RankLimits(NamedTuple):
    """Ranks that a sum is cut to."""

    rank: int
    conv_rank: int = 0
    """Of convolutions beyond 1x1; 0: the same."""
    clamp_quantile: float = 1.0
    """Numbers beyond this quantile are cut off; kohya's tool has 0.99."""


class Summand(NamedTuple):
    """What one file does to a weight."""

    factors: Factors
    shape: Shape
    """Of the weight."""


def summed(parts: Sequence[Summand], size: RankLimits | None = None) -> dict[str, Tensor]:
    """The sum of the changes as one LoRA (shapes: `entries_of`): exact at the sum of the ranks, or
    the closest of `size`.

    Raises UserError where the modules are of different sizes.
    """
    # Files disagree whether a projection is a 1x1 convolution; the first one's form is kept.
    if len({without_ones(part.shape) for part in parts}) > 1:
        raise UserError("tools.sizes", names=[as_text(part.shape) for part in parts])
    factors, shape = [part.factors for part in parts], parts[0].shape
    if size is None:
        sides = zip(*factors, strict=True)
        # Exact: the ranks of all files side by side, nothing is approximated.
        joined = Factors(*(torch.cat(side, axis) for side, axis in zip(sides, (1, 0), strict=True)))
    else:
        wide = math.prod(shape[2:]) > 1
        spectrum = spectrum_of_factors(factors)
        rank = min((size.conv_rank or size.rank) if wide else size.rank, spectrum.most)
        joined = clamped(spectrum.cut(rank), size.clamp_quantile)
    return entries_of(joined, shape, joined.down.shape[0])


def summand(entries: Mapping[str, Tensor], strength: float, kernel: Shape = ()) -> Summand:
    """One file's change, of other types than plain LoRA by the ranks that it has.

    `kernel`: of a convolution whose entries do not show it.

    Raises UserError where the change cannot be told without a base model.
    """
    factors = factors_of(entries)
    if factors is None:
        spectrum = spectrum_of_entries(entries)
        largest = spectrum.values[0] if len(spectrum.values) else torch.tensor(0.0)
        # The ranks that it really has, no more.
        factors = spectrum.cut(max(1, int((spectrum.values > largest * NO_CHANGE).sum())))
    shape = with_kernel(weight_shape(entries), kernel)
    return Summand(Factors(factors.up * strength, factors.down), shape)


Portioned = tuple[Mapping[str, Tensor], float]
"""A plain LoRA's entries, and its strength."""


def plain(entries: Mapping[str, Tensor], strength: float, _kernel: Shape = ()) -> Portioned:
    """One file's factors as they are. Raises UserError for other types than plain LoRA."""
    if factors_of(entries) is None:
        raise UserError("tools.only_plain")
    return entries, strength


def mixed(parts: Sequence[Portioned]) -> dict[str, Tensor]:
    """Factors (out, r) and (r, in) added, each times √(alpha / the first's) and its strength (merge_lora).

    `parts`: a module in each of several files. Raises UserError for ranks that differ.
    """
    total: dict[str, Tensor] = {}
    alphas = [_alpha(entries) for entries, _ in parts]
    # The first file's alpha holds for the sum, the others are scaled to it; one of 0 holds for nothing.
    base = next(filter(None, alphas), 1.0)
    for (entries, strength), alpha in zip(parts, alphas, strict=True):
        ratio = alpha / base
        scale = math.copysign(math.sqrt(abs(ratio)), ratio) * strength
        # The sign goes into one side alone, as in merge_lora.
        for entry, times in (("lora_up.weight", abs(scale)), ("lora_down.weight", scale)):
            added = entries[entry].float() * times
            if entry in total and total[entry].shape != added.shape:
                raise UserError("tools.other_ranks")
            total[entry] = total[entry] + added if entry in total else added
    return {**total, "alpha": torch.tensor(base)}


def _alpha(entries: Mapping[str, Tensor]) -> float:
    """The rank where a file has none."""
    return float(entries["alpha"] if "alpha" in entries else entries["lora_down.weight"].shape[0])


def resized(
    entries: Mapping[str, Tensor],
    rank: int,
    conv_rank: int,
    rule: RankRule,
    target: float,
    kernel: Shape = (),
) -> tuple[dict[str, Tensor], tuple[int, int, float]]:
    """A module's entries (`entries_of`) at another rank; (rank before, rank now, share of the norm left).

    `kernel`: of a convolution whose entries do not show it.
    """
    factors, shape = factors_of(entries), with_kernel(weight_shape(entries), kernel)
    spectrum = spectrum_of_factors([factors]) if factors else spectrum_of_entries(entries)
    scale = (scale_of(entries) if factors else 1.0) or 1.0
    largest = conv_rank if len(shape) > 2 else rank
    # Rules look at the values without alpha, as the reference does.
    new_rank = choose_rank(spectrum.values / scale, rule, target, spectrum.most, largest)
    old_rank = factors.down.shape[0] if factors else 0
    return entries_of(spectrum.cut(new_rank), shape, scale * new_rank), (
        old_rank,
        new_rank,
        spectrum.kept(new_rank),
    )


def without_ones(shape: Shape) -> Shape:
    """A 1x1 convolution as the linear layer that it is (SD2's projections stand in files as either)."""
    return shape[:2] if set(shape[2:]) <= {1} else shape
