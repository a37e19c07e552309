"""Adapters that build the change of a module's weight and add its effect to the module's output.

output = module(x) + op(x, ΔW). The large ΔW is not kept for the backward pass: it is built again there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainer.lora.shapes import Options, Shape
from trainer.lora.target import LoraTarget
from trainer.network.adapters.adapter import Adapter, Dropouts, Mode

Layer = nn.Linear | nn.Conv2d
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
        options: Options,
        dropouts: Dropouts,
        mode: Mode,
    ) -> None:
        self.target, self.layer, self.options = target, cast("Layer", layer), options
        self.dropouts, self.mode = dropouts, mode
        self.enabled, self.times = True, 1.0
        device = self.layer.weight.device
        names = [*shapes, *(["scalar"] if options.scalar else [])]
        self.entries = {
            name: nn.Parameter(torch.empty(shapes.get(name, ()), device=device)) for name in names
        }
        self.layer.requires_grad_(False)
        holder = nn.Module()
        for name, weight in self.entries.items():
            holder.register_parameter(name.replace(".", "_"), weight)
        self.layer.add_module(HOLDER, holder)
        self.layer.register_forward_hook(self._add)

    @property
    def shape(self) -> Shape:
        """Shape of the weight as files see it."""
        shape = tuple(self.layer.weight.shape)
        return (*shape, 1, 1) if self.target.as_convolution else shape

    @property
    def scale(self) -> float:
        """alpha / dim."""
        return self.target.alpha / self.target.dim

    def weight(self) -> Tensor:
        """The module's own weight, float32, in `shape`."""
        return self.layer.weight.detach().float().reshape(self.shape)

    def delta(self, entries: Mapping[str, Tensor]) -> Tensor:
        """ΔW in `shape` from the weights, before scalar, dropout and DoRA."""
        raise NotImplementedError

    def draw(self) -> None:
        """First values of all weights."""
        raise NotImplementedError

    @torch.no_grad()
    def initialise(self, dtype: torch.dtype) -> None:
        self.draw()
        if "scalar" in self.entries:
            nn.init.zeros_(self.entries["scalar"])
        if "dora_scale" in self.entries:
            lengths = self.weight().flatten(1).norm(dim=1)
            self.entries["dora_scale"].copy_(lengths.reshape(self.entries["dora_scale"].shape))
        for weight in self.entries.values():
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

    def changed(self, entries: Mapping[str, Tensor], rows: Tensor | None = None) -> Tensor:
        """The whole change of the weight; `rows` (out,) weakens or leaves out rows of it."""
        change = self.delta(entries).reshape(self.shape)
        if "scalar" in entries:
            change = change * entries["scalar"]
        if rows is not None:
            change = change * rows.view(-1, *[1] * (change.dim() - 1))
        if "dora_scale" not in entries:
            return change
        weight = self.weight()
        merged = weight + change
        lengths = merged.flatten(1).norm(dim=1).reshape(entries["dora_scale"].shape)
        return merged * (entries["dora_scale"] / (lengths + torch.finfo(merged.dtype).eps)) - weight

    def effect(self, x: Tensor) -> Tensor:
        """What the change adds to the module's output for input `x`."""
        rows = self._rows(x.device)

        def apply(x: Tensor, *weights: Tensor) -> Tensor:
            with torch.autocast(x.device.type, enabled=False):
                change = self.changed(
                    {n: w.float() for n, w in zip(self.entries, weights, strict=True)}, rows
                )
            return self.operate(x, change.to(x.dtype))

        weights = tuple(self.entries.values())
        if not torch.is_grad_enabled():
            return apply(x, *weights)
        found = checkpoint(apply, x, *weights, use_reentrant=False, preserve_rng_state=False)
        return cast("Tensor", found)

    def operate(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The module's own operation with another weight."""
        layer = self.layer
        weight = weight.reshape(layer.weight.shape)
        if isinstance(layer, nn.Linear):
            return F.linear(x, weight, bias)
        padding = cast("tuple[int, int]", layer.padding)
        return F.conv2d(x, weight, bias, layer.stride, padding, layer.dilation, layer.groups)

    def _add(self, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        """Forward hook; dropouts are drawn in the order module, rows, activations."""
        training = self.mode.training
        if not self.enabled:
            return None
        if training and self.dropouts.module and torch.rand(1).item() < self.dropouts.module:
            return None
        effect = self.effect(inputs[0])
        if training and self.dropouts.network and not self.drops_ranks:
            effect = F.dropout(effect, self.dropouts.network)
        return output + (effect if self.times == 1 else effect * self.times).to(output.dtype)

    def _rows(self, device: torch.device) -> Tensor | None:
        """Rank dropout of LyCORIS: a factor for each output of the module."""
        share = self.dropouts.rank
        if not share or not self.mode.training:
            return None
        return kept(self.shape[0], share, device, rescale=self.dropouts.rank_scale)

    @torch.no_grad()
    def change_norm(self) -> float | None:
        if not self.linear_in:
            return None
        change = self.delta({name: weight.float() for name, weight in self.entries.items()})
        scalar = float(self.entries["scalar"]) if "scalar" in self.entries else 1.0
        return float(change.double().norm()) * abs(scalar)

    @torch.no_grad()
    def shrink(self, ratio: float) -> None:
        if "scalar" in self.entries:
            self.entries["scalar"].mul_(ratio)
            return
        factors = [self.entries[name] for name in self.linear_in if name in self.entries]
        for factor in factors:
            factor.mul_(ratio ** (1 / len(factors)))

    def to_file(self, copies: dict[str, Tensor]) -> dict[str, Tensor]:
        """A learned scalar goes into the weights: files know of none."""
        scalar = copies.pop("scalar", None)
        if scalar is not None:
            copies[self.strength] *= scalar
        return copies


def kept(count: int, share: float, device: torch.device, *, rescale: bool) -> Tensor:
    """0 or 1 for each of `count`: left out with probability `share`; rescaled, the mean stays 1."""
    mask = (torch.rand(count, device=device) > share).float()
    return mask / mask.mean().clamp(min=1 / count) if rescale else mask


def kaiming(weight: Tensor) -> None:
    """First values of a lora_down, as everyone draws them."""
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
