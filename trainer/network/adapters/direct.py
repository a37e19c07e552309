"""ΔW that learns itself: native fine-tuning, (IA)³, and the norms ("Train Norm")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.network.adapters.change import WeightChange


class Full(WeightChange):
    """Every number of the weight and the bias learns ("LyCORIS/Native Fine-Tuning")."""

    linear_in = ("diff",)

    def draw(self) -> None:
        for weight in self.entries.values():
            nn.init.zeros_(weight)

    def delta(self, entries: Mapping[str, Tensor]) -> Tensor:
        return entries["diff"].reshape(self.shape)

    def effect(self, x: Tensor) -> Tensor:
        rows = self._rows(x.device)
        change = self.changed(self.entries, rows)
        bias = self.entries.get("diff_b")
        if bias is not None and rows is not None:
            bias = cast("nn.Parameter", bias * rows)
        return self.operate(x, change.to(x.dtype), None if bias is None else bias.to(x.dtype))


class IA3(WeightChange):
    """One factor for each input, or each output, of the module (arXiv 2205.05638)."""

    linear_in = ("weight",)

    def draw(self) -> None:
        nn.init.zeros_(self.entries["weight"])

    def delta(self, entries: Mapping[str, Tensor]) -> Tensor:
        axis = 1 if self.options.on_input else 0
        view = [1] * len(self.shape)
        view[axis] = -1
        return self.weight() * entries["weight"].reshape(view)

    def to_file(self, copies: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**super().to_file(copies), "on_input": torch.tensor(int(self.options.on_input))}


class Norm(WeightChange):
    """Weight and bias of a LayerNorm or GroupNorm."""

    def draw(self) -> None:
        for weight in self.entries.values():
            nn.init.zeros_(weight)

    def effect(self, x: Tensor) -> Tensor:
        rows = self._rows(x.device)
        pair = (self.entries["w_norm"], self.entries["b_norm"])
        weight, bias = (entry if rows is None else entry * rows for entry in pair)
        layer = cast("nn.Module", self.layer)
        with torch.autocast(x.device.type, enabled=False):
            if isinstance(layer, nn.GroupNorm):
                return F.group_norm(x.float(), layer.num_groups, weight.float(), bias.float(), layer.eps)
            shape = list(weight.shape)
            eps = cast("nn.LayerNorm", layer).eps
            return F.layer_norm(x.float(), shape, weight.float(), bias.float(), eps)
