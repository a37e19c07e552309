"""ΔW as a product of small matrices: LoHa, LoKr, GLoRA, and LoRA with DoRA."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.network.adapters.change import WeightChange, kaiming


class LoHa(WeightChange):
    """ΔW = (a₁b₁) ∘ (a₂b₂) · alpha/dim, elementwise product (FedPara, arXiv 2108.06098)."""

    linear_in = ("hada_w1_a",)
    strength = "hada_w1_a"

    def draw(self) -> None:
        entries = self.entries
        for core in ("hada_t1", "hada_t2"):
            if core in entries:
                nn.init.normal_(entries[core], std=0.1)
        nn.init.normal_(entries["hada_w1_b"], std=1)
        nn.init.normal_(entries["hada_w1_a"], std=0.1)
        nn.init.normal_(entries["hada_w2_b"], std=1)
        self.or_zero("hada_w2_a", lambda weight: nn.init.normal_(weight, std=0.1))

    def delta(self, entries: Mapping[str, Tensor]) -> Tensor:
        sides = [_half(entries, side) for side in (1, 2)]
        return sides[0] * sides[1] * self.scale


def _half(entries: Mapping[str, Tensor], side: int) -> Tensor:
    left, right = entries[f"hada_w{side}_a"], entries[f"hada_w{side}_b"]
    if f"hada_t{side}" in entries:
        return tucker(entries[f"hada_t{side}"], left, right)
    return left @ right


def tucker(core: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """(out, in, k, k) from a core (r, r, k, k), (r, out) and (r, in)."""
    return torch.einsum("ijhw,io,jn->onhw", core, left, right)


class LoKr(WeightChange):
    """ΔW = w₁ ⊗ w₂ · alpha/dim, Kronecker product; each factor whole or a product of two (LyCORIS)."""

    linear_in = ("lokr_w1", "lokr_w1_a")

    @property
    def strength(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  # depends on the shapes
        return "lokr_w1" if "lokr_w1" in self.entries else "lokr_w1_a"

    def draw(self) -> None:
        entries = self.entries
        zero = "lokr_w2" if "lokr_w2" in entries else "lokr_w2_b"
        for name in ("lokr_t2", "lokr_w2_a", "lokr_w1", "lokr_w1_a", "lokr_w1_b"):
            if name in entries:
                kaiming(entries[name])
        self.or_zero(zero, kaiming)

    def delta(self, entries: Mapping[str, Tensor]) -> Tensor:
        small = entries["lokr_w1"] if "lokr_w1" in entries else entries["lokr_w1_a"] @ entries["lokr_w1_b"]
        if "lokr_w2" in entries:
            large = entries["lokr_w2"]
        elif "lokr_t2" in entries:
            large = tucker(entries["lokr_t2"], entries["lokr_w2_a"], entries["lokr_w2_b"])
        else:
            large = entries["lokr_w2_a"] @ entries["lokr_w2_b"]
        return torch.kron(small, large.flatten(1).contiguous()).reshape(self.shape) * self.scale


class GLoRA(WeightChange):
    """ΔW = (W·a₁·a₂ + b₁·b₂) · alpha/dim (arXiv 2306.07967)."""

    linear_in = ("a1.weight", "b1.weight")

    def draw(self) -> None:
        for name in ("a1.weight", "b1.weight"):
            kaiming(self.entries[name])
        for name in ("a2.weight", "b2.weight"):
            nn.init.zeros_(self.entries[name])

    def delta(self, entries: Mapping[str, Tensor]) -> Tensor:
        a1, a2 = entries["a1.weight"].flatten(1), entries["a2.weight"].flatten(1)
        added = entries["b1.weight"].flatten(1) @ entries["b2.weight"].flatten(1)
        turned = torch.einsum("oi...,ir->or...", self.weight(), a1)
        turned = torch.einsum("or...,rj->oj...", turned, a2)
        return (turned + added.reshape(self.shape)) * self.scale

    @torch.no_grad()
    def shrink(self, ratio: float) -> None:
        for name in self.linear_in:  # the two are added, not multiplied
            self.entries[name].mul_(ratio)


class LowRankChange(WeightChange):
    """LoRA whose ΔW is built whole: with DoRA (arXiv 2402.09353), where its rows are needed."""

    linear_in = ("lora_up.weight", "lora_down.weight")
    strength = "lora_up.weight"

    def draw(self) -> None:
        for name in ("lora_down.weight", "lora_mid.weight"):
            if name in self.entries:
                kaiming(self.entries[name])
        self.or_zero("lora_up.weight", kaiming)

    def delta(self, entries: Mapping[str, Tensor]) -> Tensor:
        up, down = entries["lora_up.weight"].flatten(1), entries["lora_down.weight"].flatten(1)
        if "lora_mid.weight" in entries:
            return tucker(entries["lora_mid.weight"], up.T, down) * self.scale
        return up @ down * self.scale
