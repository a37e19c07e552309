"""What a LoRA file's tensors do to a weight, and a change of a weight as low-rank factors.

For tools that work on files: no model is needed but, for some types, the weight itself. Shapes: a weight is
(out, in) or (out, in, k, k); its factors are up (out, r[, 1, 1]) and down (r, in[, k, k]).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.errors import UserError
from trainer.lora.shapes import AlgorithmOptions, Shape
from trainer.lora.target import LoraTarget
from trainer.lora.types import Algorithm, algorithm_in, rank_of
from trainer.network.adapters.adapter import Dropouts, Mode
from trainer.network.adapters.build import adapter_class
from trainer.network.adapters.products import LowRankChange
from trainer.network.adapters.whole import whole_change
from trainer.problems import some_names

NEEDS_WEIGHT: tuple[Algorithm, ...] = ("glora", "ia3", "diag-oft", "boft")
"""Their change depends on the weight that they change."""
MOST_FOR_QUANTILE = 16_000_000
"""torch.quantile takes no more numbers."""
MOST_SIZES = 6
"""Tensors that are listed where their sizes do not fit."""
NO_CHANGE = 1e-6
"""A largest singular value up to this counts as no change at all (as in kohya's own tool)."""


class Factors(NamedTuple):
    """ΔW = up · down."""

    up: Tensor
    """(out, r)."""
    down: Tensor
    """(r, in · k · k)."""


@dataclass(frozen=True)
class Spectrum:
    """A change's singular value decomposition."""

    left: Tensor
    """(out, n), orthonormal columns."""
    values: Tensor
    """(n,), falling."""
    right: Tensor
    """(n, in · k · k), orthonormal rows."""
    most: int
    """The highest rank that a matrix of this size can have."""

    def cut(self, rank: int) -> Factors:
        """The closest change of this rank, with zeros where it has fewer; the values go into `up`."""
        # All of the size in `up`, none in `down`, as kohya's tool has it.
        up, down = self.left[:, :rank] * self.values[:rank], self.right[:rank]
        missing = rank - len(down)
        # A change of fewer ranks than asked for: zeros keep all files of one rank.
        return Factors(F.pad(up, (0, missing)), F.pad(down, (0, 0, 0, missing)))

    def kept(self, rank: int) -> float:
        """Share of the Frobenius norm that is left with this rank (0-1)."""
        whole = float(self.values.square().sum().sqrt())
        return float(self.values[:rank].square().sum().sqrt()) / whole if whole else 1.0


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
    try:
        layer = _stand_in(shape or weight_shape(entries))
        if weight is not None:
            if algorithm not in NEEDS_WEIGHT:
                require_size(entries, weight_shape(entries), shape)
            layer.weight = nn.Parameter(weight.detach().float(), requires_grad=False)
        return _whole(algorithm, entries, layer).detach()
    # Sizes that contradict each other show in many ways, in whatever operation meets them first.
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


def _whole(algorithm: Algorithm, entries: Mapping[str, Tensor], layer: nn.Linear | nn.Conv2d) -> Tensor:
    """ΔW, in the shape of the layer's weight, by the adapter that trains this type."""
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
    # The one reference of every type, so that a tool and a training never disagree.
    return whole_change(adapter, {name: entries[name].float() for name in shapes if name != "diff_b"})


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


def _kronecker_shape(size: Mapping[str, Shape]) -> Shape:
    small = size.get("lokr_w1") or (size["lokr_w1_a"][0], size["lokr_w1_b"][1])
    if "lokr_w2" in size:
        large = size["lokr_w2"]
    elif "lokr_t2" in size:
        large = (size["lokr_w2_a"][1], size["lokr_w2_b"][1], *size["lokr_t2"][2:])
    else:
        large = (size["lokr_w2_a"][0], size["lokr_w2_b"][1])
    return (small[0] * large[0], small[1] * large[1], *large[2:])


def spectrum_of_factors(parts: Sequence[Factors]) -> Spectrum:
    """Of the sum of up · down over `parts`, without building it: QR of each side, SVD of a small core."""
    # Side by side the factors of several changes are those of their sum. float64: QR loses digits.
    up = torch.cat([part.up for part in parts], dim=1).double()
    down = torch.cat([part.down for part in parts], dim=0).double()
    left, left_core = torch.linalg.qr(up)
    right, right_core = torch.linalg.qr(down.T)
    # Of r x r numbers: the sum itself has out x in.
    u, values, v = torch.linalg.svd(left_core @ right_core.T, full_matrices=False)
    most = min(up.shape[0], down.shape[1])
    return Spectrum((left @ u).float(), values.float(), (v @ right.T).float(), most)


def spectrum_of(change: Tensor) -> Spectrum:
    """Of a whole ΔW (out, in) or (out, in, k, k), by the eigenvectors of its smaller product with itself.

    In float64 that is more exact than a decomposition in float32, which takes up to five times as long where
    one side is longer.
    """
    flat = change.double().flatten(1)
    tall = flat if flat.shape[0] >= flat.shape[1] else flat.T
    right = torch.linalg.eigh(tall.T @ tall).eigenvectors.flip(1)
    left = tall @ right
    # Not the roots of the eigenvalues: squaring has taken half the digits of the small ones.
    values = left.norm(dim=0)
    left = left / values.where(values > 0, 1)
    sides = (left, right) if tall is flat else (right, left)
    return Spectrum(sides[0].float(), values.float(), sides[1].T.float(), len(values))


RankRule = Literal["fixed", "sv_ratio", "sv_cumulative", "sv_fro"]
"""How kohya's tool chooses a rank: a number; down to the largest singular value divided by a number; up to a
share of the sum of the values; up to a share of the Frobenius norm."""


def choose_rank(values: Tensor, rule: RankRule, target: float, most: int, largest: int) -> int:
    """The rank by a rule for singular values (n,): at most `largest`, and `most`, which a matrix can have.

    As kohya's tool counts: by a share it takes one more than reaches it.
    """
    # A module that learned nothing still needs a rank in the file.
    if not len(values) or float(values[0]) <= NO_CHANGE:
        return 1
    if rule == "fixed":
        return max(1, min(largest, most))
    if rule == "sv_ratio":
        index = int((values > values[0] / target).sum())
    else:
        weights = values if rule == "sv_cumulative" else values.square()
        share = target if rule == "sv_cumulative" else target**2
        reached = torch.cumsum(weights, 0) / weights.sum()
        index = int(torch.searchsorted(reached, torch.tensor(share, dtype=reached.dtype))) + 1
    # The tool's own counting, one more than needed: kept, so that the files are equal.
    return min(max(1, min(index, most - 1)) + 1, largest, most)


def clamped(factors: Factors, quantile: float) -> Factors:
    """Numbers beyond this quantile of all cut off: what kohya's tools do (0.99; 1: nothing)."""
    if quantile >= 1:
        return factors
    numbers = torch.cat([factors.up.flatten(), factors.down.flatten()])
    # Over both sides at once, as the tool does; `quantile` refuses more than 16 million numbers.
    if numbers.numel() <= MOST_FOR_QUANTILE:
        limit = torch.quantile(numbers, quantile)
    else:
        limit = numbers.kthvalue(math.ceil(quantile * numbers.numel())).values
    return Factors(factors.up.clamp(-limit, limit), factors.down.clamp(-limit, limit))


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


def summand(entries: Mapping[str, Tensor], strength: float) -> Summand:
    """One file's change; other types than plain LoRA are built whole and taken apart again.

    Raises UserError where the change cannot be told without a base model.
    """
    factors = factors_of(entries)
    if factors is None:
        spectrum = spectrum_of(change_of(entries))
        largest = spectrum.values[0] if len(spectrum.values) else torch.tensor(0.0)
        # The ranks that it really has, no more.
        factors = spectrum.cut(max(1, int((spectrum.values > largest * NO_CHANGE).sum())))
    return Summand(Factors(factors.up * strength, factors.down), weight_shape(entries))


Portioned = tuple[Mapping[str, Tensor], float]
"""A plain LoRA's entries, and its strength."""


def plain(entries: Mapping[str, Tensor], strength: float) -> Portioned:
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
    entries: Mapping[str, Tensor], rank: int, conv_rank: int, rule: RankRule, target: float
) -> tuple[dict[str, Tensor], tuple[int, int, float]]:
    """A module's entries (`entries_of`) at another rank; (rank before, rank now, share of the norm left)."""
    factors, shape = factors_of(entries), weight_shape(entries)
    spectrum = spectrum_of_factors([factors]) if factors else spectrum_of(change_of(entries))
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
