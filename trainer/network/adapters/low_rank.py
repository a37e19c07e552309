"""LoRA as a chain of small layers, with LyCORIS' options; and DyLoRA."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.network.adapters.change import WeightChange, kaiming, kept
from trainer.network.adapters.products import LowRankChange


class LoConChain(LowRankChange):
    """up(mid(down(x))) · alpha/dim: ΔW is never built (arXiv 2106.09685; mid: Tucker)."""

    drops_ranks = True
    bypass = False
    """ "Bypass mode": rank dropout leaves out ranks, not outputs of the module."""

    def effect(self, x: Tensor, _output: Tensor, /) -> Tensor:
        """(B, …, out) or (B, out, h, w)."""
        entries = self.entries
        ranks = self._ranks(x)
        training = self.mode.training
        # Ranks are channels of a convolution, the last axis of a linear layer.
        axis = 1 if ranks.dim() == 4 else -1
        if training and self.dropouts.network:
            ranks = F.dropout(ranks, self.dropouts.network)
        if training and self.dropouts.rank and self.bypass:
            ranks = ranks * self._mask(ranks, axis)
        up = entries["lora_up.weight"].to(x.dtype)
        out = F.conv2d(ranks, up) if ranks.dim() == 4 else F.linear(ranks, up.flatten(1))
        if training and self.dropouts.rank and not self.bypass:
            out = out * self._mask(out, axis)
        # At the end, where LyCORIS has it.
        strength = self.entries["scalar"].to(out.dtype) if "scalar" in entries else 1.0
        return out * (strength * self.scale)

    def _ranks(self, x: Tensor) -> Tensor:
        """Activations of the ranks: (B, T, r) or (B, r, h, w)."""
        down = self.entries["lora_down.weight"].to(x.dtype)
        if isinstance(self.layer, nn.Linear):
            return F.linear(x, down.flatten(1))
        layer = self.layer
        padding = cast("tuple[int, int]", layer.padding)
        wide = (layer.stride, padding, layer.dilation)
        if "lora_mid.weight" not in self.entries:
            return F.conv2d(x, down, None, *wide)
        # Tucker: the kernel stands in the small core, so stride and padding belong to it.
        return F.conv2d(F.conv2d(x, down), self.entries["lora_mid.weight"].to(x.dtype), None, *wide)

    def _mask(self, x: Tensor, axis: int) -> Tensor:
        """(n,) for the last axis of x (…, n), (n, 1, 1) for the channels of (B, n, h, w)."""
        mask = kept(x.shape[axis], self.dropouts.rank, x.device, rescale=self.dropouts.rank_scale)
        return mask.to(x.dtype).view(-1, 1, 1) if axis == 1 else mask.to(x.dtype)


class DyLoRA(WeightChange):
    """Ranks that are useful alone: each batch trains one group of them (arXiv 2210.07558).

    As kohya's trainer does it, all ranks act and one group learns; as LyCORIS does it ("nested"), only the
    groups up to that one act. Outside training all ranks act.
    """

    nested = False
    _drawn: tuple[int, int] = (-1, 0)
    """The batch that a group was drawn for last, and the group."""

    @property
    def groups(self) -> int:
        """Number of groups of `unit` ranks."""
        return self.target.dim // self.options.unit

    def draw(self) -> None:
        for name, weight in self.entries.items():
            if name.startswith("lora_down"):  # as for one rank after the other
                for row in weight.data.unbind(0):
                    kaiming(row.unsqueeze(0))
            else:
                nn.init.zeros_(weight)

    def chosen(self) -> int:
        """The group that this batch trains; drawn once per batch, so that it can be computed again."""
        # Gradient checkpointing runs the forward pass twice: both must train the same group.
        if self._drawn[0] != self.mode.batch:
            if self.nested:  # drawn as each of the two draws it: the same seed gives the same groups
                group = random.randint(0, self.groups - 1)
            else:
                group = random.randint(0, self.target.dim - 1) // self.options.unit
            self._drawn = self.mode.batch, group
        return self._drawn[1]

    def effect(self, x: Tensor, _output: Tensor, /) -> Tensor:
        """(B, …, out) or (B, out, h, w) of the ranks that act in this batch."""
        if not self.mode.training:
            return self._chain(x, self._joined("down"), self._joined("up"), self.scale)
        group = self.chosen()
        acting = group + 1 if self.nested else self.groups
        down, up = (self._joined(side, learning=group, acting=acting) for side in ("down", "up"))
        # Fewer ranks act more strongly, so that each prefix gives a change of about one size.
        rank = (group + 1) * self.options.unit
        stronger = self.target.dim / rank
        return self._chain(x, down, up, self.scale * (stronger if self.nested else math.sqrt(stronger)))

    def _joined(self, side: str, learning: int | None = None, acting: int | None = None) -> Tensor:
        """The groups' weights as one, down (r, in, …) or up (out, r, …); only `learning` gets gradients."""
        count = self.groups if acting is None else acting
        parts: list[Tensor] = [self.entries[f"lora_{side}.{i}"] for i in range(count)]
        if learning is not None:
            parts = [part if i == learning else part.detach() for i, part in enumerate(parts)]
        return torch.cat(parts, dim=0 if side == "down" else 1)

    def _chain(self, x: Tensor, down: Tensor, up: Tensor, scale: float) -> Tensor:
        """up(down(x)), (B, …, out) or (B, out, h, w), by (r, in, …) and (out, r, …)."""
        if isinstance(self.layer, nn.Linear):
            out = F.linear(F.linear(x, down.flatten(1).to(x.dtype)), up.flatten(1).to(x.dtype))
        else:
            layer, padding = self.layer, cast("tuple[int, int]", self.layer.padding)
            ranks = F.conv2d(x, down.to(x.dtype), None, layer.stride, padding, layer.dilation)
            out = F.conv2d(ranks, up.to(x.dtype))
        return out * scale

    @torch.no_grad()
    def change_norm(self) -> float | None:
        down, up = (self._joined(side).double().flatten(1) for side in ("down", "up"))
        return float(((up.T @ up) * (down @ down.T)).sum().clamp(min=0).sqrt()) * self.scale

    @torch.no_grad()
    def shrink(self, ratio: float) -> None:
        for weight in self.entries.values():
            weight.mul_(math.sqrt(ratio))

    def to_file(self, copies: dict[str, Tensor]) -> dict[str, Tensor]:
        """As any LoRA, (r, in, …) and (out, r, …): its first ranks are the smaller ones."""
        sides = {"down": 0, "up": 1}
        return {
            f"lora_{side}.weight": torch.cat([copies[f"lora_{side}.{i}"] for i in range(self.groups)], axis)
            for side, axis in sides.items()
        }

    def from_file(self, entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Groups of `unit` ranks of lora_down (r, in, …) and lora_up (out, r, …)."""
        unit = self.options.unit
        found: dict[str, Tensor] = {}
        for side, axis in (("down", 0), ("up", 1)):
            joined = entries.get(f"lora_{side}.weight")
            if joined is None or joined.dim() < 2 or joined.shape[axis] != self.target.dim:
                continue
            found |= {f"lora_{side}.{i}": part for i, part in enumerate(joined.split(unit, axis))}
        return found
