"""ΔW that learns itself: native fine-tuning, (IA)³, and the norms ("Train Norm")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.models.lean.formats import format_at_work
from trainer.network.adapters.change import WeightChange
from trainer.network.adapters.factored import Dense, by_row, operate, scaled


class Full(WeightChange):
    """Every number of the weight and the bias learns ("LyCORIS/Native Fine-Tuning")."""

    linear_in = ("diff",)

    def draw(self) -> None:
        for weight in self.entries.values():
            nn.init.zeros_(weight)

    def change(self, entries: Mapping[str, Tensor]) -> Dense:
        """The numbers themselves, (out, in, …)."""
        return Dense(entries["diff"])

    def effect(self, x: Tensor, _output: Tensor, /) -> Tensor:
        """(B, …, out) or (B, out, h, w), with the bias's change (out,)."""
        rows = self._rows(x.device)
        change: Tensor = self.entries["diff"]
        bias = self.entries.get("diff_b")
        if rows is not None:
            change = scaled(change, rows)
            # A row that is left out is left out with its bias.
            bias = None if bias is None else bias * rows
        dtype = format_at_work(x)
        with torch.autocast(x.device.type, enabled=False):
            bias = None if bias is None else bias.to(dtype)
            return operate(self.layer, x.to(dtype), change.to(dtype), bias)


class IA3(WeightChange):
    """One factor for each input, or each output, of the module (arXiv 2205.05638)."""

    linear_in = ("weight",)

    def draw(self) -> None:
        nn.init.zeros_(self.entries["weight"])

    def change(self, entries: Mapping[str, Tensor]) -> Dense:
        """W (out, in·k·k) times one factor per input or output."""
        weight = self.layer.weight.detach().flatten(1)
        factor = entries["weight"].flatten()
        if self.options.on_input:
            factor = factor.repeat_interleave(weight.shape[1] // len(factor))  # for each place of the kernel
        return Dense(weight * (factor if self.options.on_input else factor[:, None]))

    def effect(self, x: Tensor, output: Tensor, /) -> Tensor:
        """W·(f∘x), or f∘(W·x): inputs (B, …, in) or outputs are multiplied instead of W."""
        dtype, rows = format_at_work(x), self._rows(x.device)
        factor = self.entries["weight"].flatten()
        with torch.autocast(x.device.type, enabled=False):
            if self.options.on_input:
                weight = self.layer.weight.detach().to(dtype)
                effect = operate(self.layer, x.to(dtype) * by_row(factor, x).to(dtype), weight)
            else:
                # One number per output: the module's own product is used again.
                effect = self._longer(output, factor)
            return effect if rows is None else effect * by_row(rows, effect).to(effect.dtype)

    def to_file(self, copies: dict[str, Tensor]) -> dict[str, Tensor]:
        """The factors (in,) or (out, 1, …), and a mark () that tells which."""
        return {**super().to_file(copies), "on_input": torch.tensor(int(self.options.on_input))}


class Norm(WeightChange):
    """Weight and bias of a LayerNorm or GroupNorm."""

    def draw(self) -> None:
        for weight in self.entries.values():
            nn.init.zeros_(weight)

    def effect(self, x: Tensor, _output: Tensor, /) -> Tensor:
        """As x (B, T, C) or (B, C, h, w): the norm with the changes of its weight and bias (C,) alone."""
        rows = self._rows(x.device)
        pair = (self.entries["w_norm"], self.entries["b_norm"])
        weight, bias = (entry if rows is None else entry * rows for entry in pair)
        layer = cast("nn.Module", self.layer)
        with torch.autocast(x.device.type, enabled=False):
            # A norm is linear in weight and bias: the base's part is in the module's output already.
            if isinstance(layer, nn.GroupNorm):
                return F.group_norm(x.float(), layer.num_groups, weight.float(), bias.float(), layer.eps)
            shape = list(weight.shape)
            eps = cast("nn.LayerNorm", layer).eps
            return F.layer_norm(x.float(), shape, weight.float(), bias.float(), eps)
