"""Adapters that add the effect of a changed weight to their module's output.

output = module(x) + ΔW·x, from the factors of ΔW (trainer.network.adapters.factored): it is not built.

Shapes: W and ΔW are (out, in), of convolutions (out, in, k, k); r is the rank. Inputs x are (B, …, in) or
(B, in, H, W), outputs (B, …, out) or (B, out, h, w). Entries are shaped as `lora.shapes` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.lora.shapes import AlgorithmOptions, Shape
from trainer.lora.target import LoraTarget
from trainer.lora.types import ALGORITHMS
from trainer.models.lean.formats import format_at_work
from trainer.network.adapters.adapter import Adapter, Dropouts, Mode
from trainer.network.adapters.factored import Delta, LinearOrConv, Strength, by_row

HOLDER = "lora_change"
"""Name under which an adapter's weights hang on their module, so that they move with it."""


class WeightChange(Adapter):
    """Base of the algorithms that can say what ΔW is."""

    drops_ranks = False
    """Whether network dropout acts inside `effect`, on the ranks."""
    linear_in: tuple[str, ...] = ()
    """Entries whose product is ΔW: each multiplied by c^(1/n) makes ΔW c times as large."""
    strength: str = ""
    """The entry that a learned scalar is multiplied into on saving."""

    def __init__(
        self,
        target: LoraTarget,
        layer: nn.Module,
        shapes: Mapping[str, Shape],
        options: AlgorithmOptions,
        dropouts: Dropouts,
        mode: Mode,
    ) -> None:
        self.target, self.layer, self.options = target, cast("LinearOrConv", layer), options
        self.dropouts, self.mode = dropouts, mode
        self.enabled, self.times = True, 1.0
        self._squares: Tensor | None = None
        device = self.layer.weight.device
        names = [*shapes, *(["scalar"] if options.scalar else [])]
        self.entries = {
            name: nn.Parameter(torch.empty(shapes.get(name, ()), device=device)) for name in names
        }
        # Before the adapter hangs on it: its own weights are to learn.
        self.layer.requires_grad_(False)
        holder = nn.Module()
        for name, weight in self.entries.items():
            # Dots are not allowed in a parameter's name.
            holder.register_parameter(name.replace(".", "_"), weight)
        self.layer.add_module(HOLDER, holder)
        # A hook, not another class: the module keeps its type for whoever asks, and names stay.
        self.layer.register_forward_hook(self._add)

    @property
    def shape(self) -> Shape:
        """Shape of the weight as files see it."""
        shape = tuple(self.layer.weight.shape)
        return (*shape, 1, 1) if self.target.as_convolution else shape

    @property
    def scale(self) -> float:
        """alpha / dim, for types that have an alpha."""
        return self.target.alpha / self.target.dim if ALGORITHMS[self.target.algorithm].has_alpha else 1.0

    def change(self, entries: Mapping[str, Tensor]) -> Delta:
        """ΔW from the weights (`lora.shapes`), before scalar, dropout and DoRA."""
        raise NotImplementedError

    def draw(self) -> None:
        """First values of all weights."""
        raise NotImplementedError

    @torch.no_grad()
    def initialise(self, dtype: torch.dtype) -> None:
        self.draw()
        if "scalar" in self.entries:
            # It is what makes the change start at 0; all weights are drawn then.
            nn.init.zeros_(self.entries["scalar"])
        if "dora_scale" in self.entries:
            # DoRA starts with the lengths that the rows have: nothing changes at first.
            lengths = self._weight_squares().sqrt()
            self.entries["dora_scale"].copy_(lengths.reshape(self.entries["dora_scale"].shape))
        for weight in self.entries.values():
            # Drawn in float32 and rounded then: the same first values in every format.
            weight.data = weight.data.to(dtype)

    def or_zero(self, name: str, draw: Callable[[Tensor], Any]) -> None:
        """Zeros for the entry that makes ΔW start at 0; drawn where a scalar does that already."""
        if "scalar" in self.entries:
            draw(self.entries[name])
        else:
            nn.init.zeros_(self.entries[name])

    def enable(self, on: bool) -> None:
        self.enabled = on

    def set_strength(self, strength: float) -> None:
        self.times = strength

    def effect(self, x: Tensor, output: Tensor, /) -> Tensor:
        """What the change adds to the module's `output`, in its shape, for input `x`."""
        rows, dtype = self._rows(x.device), format_at_work(x)
        with torch.autocast(x.device.type, enabled=False):
            # float32: DoRA's differences of nearly equal numbers lose their digits in half.
            entries = {name: weight.float() for name, weight in self.entries.items()}
            strength: Strength = self.scale * entries["scalar"] if "scalar" in entries else self.scale
            strength = strength if rows is None else strength * rows
            if "dora_scale" not in entries:
                return self.applied(x.to(dtype), entries, strength)
            stretch = self._stretch(entries, strength)
            effect = self.applied(x.to(dtype), entries, strength * stretch)
            # (W + ΔW)·stretch = W + ΔW·stretch + W·(stretch - 1), and W·x has been computed already.
            return effect + self._longer(output, stretch - 1)

    def _longer(self, output: Tensor, share: Tensor) -> Tensor:
        """share (out,) · W·x, from the module's output W·x + b: that alone is kept for the backward pass."""
        bias = self.layer.bias
        longer = output * by_row(share.to(output.dtype), output)
        return longer if bias is None else longer - by_row((share * bias).to(output.dtype), output)

    def applied(self, x: Tensor, entries: Mapping[str, Tensor], strength: Strength) -> Tensor:
        """strength (a number or (out,)) · ΔW·x, in the shape of the module's output."""
        return self.change(entries).applied(x, strength, self.layer)

    def _stretch(self, entries: Mapping[str, Tensor], strength: Strength) -> Tensor:
        """DoRA (arXiv 2402.09353): the factor (out,) that gives each row of W + ΔW its learned length.

        ‖W + sΔW‖² = ‖W‖² + 2s⟨W, ΔW⟩ + s²‖ΔW‖²: the sum of the two is not built.
        """
        change, weight = self.change(entries), self.layer.weight.detach()
        squares = self._weight_squares() + 2 * strength * change.along(weight).float()
        # Rounding may bring a square a little below 0.
        lengths = (squares + strength**2 * change.squares()).clamp(min=0).sqrt()
        return entries["dora_scale"].flatten() / (lengths + torch.finfo(torch.float32).eps)

    def _weight_squares(self) -> Tensor:
        """‖row of W‖² (out,), float32; W never changes."""
        weight = self.layer.weight.detach()
        if self._squares is None or self._squares.device != weight.device:
            self._squares = weight.float().flatten(1).square().sum(1)
        return self._squares

    def _add(self, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        """Forward hook on (B, …, out) or (B, out, h, w); dropouts are drawn as module, rows, activations."""
        training = self.mode.training
        if not self.enabled:
            return None
        # On the CPU, as LyCORIS draws it, and before anything else: the order of draws is part of a seed.
        if training and self.dropouts.module and torch.rand(1).item() < self.dropouts.module:
            return None
        effect = self.effect(inputs[0], output)
        if training and self.dropouts.network and not self.drops_ranks:
            effect = F.dropout(effect, self.dropouts.network)
        return output + (effect if self.times == 1 else effect * self.times).to(output.dtype)

    def _rows(self, device: torch.device) -> Tensor | None:
        """Rank dropout of LyCORIS: (out,), a factor for each output of the module."""
        share = self.dropouts.rank
        if not share or not self.mode.training:
            return None
        return kept(self.shape[0], share, device, rescale=self.dropouts.rank_scale)

    @torch.no_grad()
    def change_norm(self) -> float | None:
        if not self.linear_in:
            return None
        # float64: the sum of squares of a whole layer.
        change = self.change({name: weight.double() for name, weight in self.entries.items()})
        scalar = float(self.entries["scalar"]) if "scalar" in self.entries else 1.0
        return float(change.squares().sum().sqrt()) * self.scale * abs(scalar)

    @torch.no_grad()
    def shrink(self, ratio: float) -> None:
        if "scalar" in self.entries:
            self.entries["scalar"].mul_(ratio)
            return
        # Each factor takes its share, so that none gets much smaller than the others.
        factors = [self.entries[name] for name in self.linear_in if name in self.entries]
        for factor in factors:
            factor.mul_(ratio ** (1 / len(factors)))

    def to_file(self, copies: dict[str, Tensor]) -> dict[str, Tensor]:
        """A learned scalar () goes into the weights: files know of none."""
        scalar = copies.pop("scalar", None)
        if scalar is not None:
            copies[self.strength] *= scalar
        return copies


def kept(count: int, share: float, device: torch.device, *, rescale: bool) -> Tensor:
    """(count,) of 0 or 1: left out with probability `share`; rescaled, the mean stays 1."""
    mask = (torch.rand(count, device=device) > share).float()
    return mask / mask.mean().clamp(min=1 / count) if rescale else mask


def kaiming(weight: Tensor) -> None:
    """First values of a lora_down (r, in, …), as everyone draws them."""
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
