"""ΔW as a product of small matrices: LoHa, LoKr, GLoRA, and LoRA with DoRA. None of them is built."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.network.adapters.change import WeightChange, kaiming
from trainer.network.adapters.factored import Delta, Hadamard, Kronecker, LowRank, Narrowed, Strength


class LoHa(WeightChange):
    """ΔW = (a₁b₁) ∘ (a₂b₂) · alpha/dim, elementwise product (FedPara, arXiv 2108.06098)."""

    linear_in = ("hada_w1_a",)
    strength = "hada_w1_a"

    def draw(self) -> None:
        entries = self.entries
        # In LyCORIS' order and with its spreads: the same seed gives the same start.
        for core in ("hada_t1", "hada_t2"):
            if core in entries:
                nn.init.normal_(entries[core], std=0.1)
        nn.init.normal_(entries["hada_w1_b"], std=1)
        nn.init.normal_(entries["hada_w1_a"], std=0.1)
        nn.init.normal_(entries["hada_w2_b"], std=1)
        self.or_zero("hada_w2_a", lambda weight: nn.init.normal_(weight, std=0.1))

    def change(self, entries: Mapping[str, Tensor]) -> Hadamard:
        """(out, in·k·k) from two products of (out, r) and (r, in·k·k)."""
        return Hadamard(LowRank(*_half(entries, 1)), LowRank(*_half(entries, 2)))


def _half(entries: Mapping[str, Tensor], side: int) -> tuple[Tensor, Tensor]:
    """One of the two products: (out, r) and (r, in·k·k)."""
    left, right = entries[f"hada_w{side}_a"], entries[f"hada_w{side}_b"]
    if f"hada_t{side}" not in entries:
        return left, right
    return left.T, spread_core(entries[f"hada_t{side}"], right).flatten(1)


def spread_core(core: Tensor, right: Tensor) -> Tensor:
    """(r, in, k, k) from Tucker's core (r, r, k, k) and (r, in): as large as a lora_down of such a module."""
    return torch.einsum("ijhw,jn->inhw", core, right)


class LoKr(WeightChange):
    """ΔW = w₁ ⊗ w₂ · alpha/dim, Kronecker product; each factor whole or a product of two (LyCORIS)."""

    linear_in = ("lokr_w1", "lokr_w1_a")

    @property
    def strength(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  # depends on the shapes
        return "lokr_w1" if "lokr_w1" in self.entries else "lokr_w1_a"

    def draw(self) -> None:
        entries = self.entries
        # The large factor begins at 0 and the small one is drawn, as in LyCORIS.
        zero = "lokr_w2" if "lokr_w2" in entries else "lokr_w2_b"
        for name in ("lokr_t2", "lokr_w2_a", "lokr_w1", "lokr_w1_a", "lokr_w1_b"):
            if name in entries:
                kaiming(entries[name])
        self.or_zero(zero, kaiming)

    def change(self, entries: Mapping[str, Tensor]) -> Delta:
        """(out, in, …) from a small factor (o₁, i₁) and a large one (o₂, i₂, …)."""
        small = entries["lokr_w1"] if "lokr_w1" in entries else entries["lokr_w1_a"] @ entries["lokr_w1_b"]
        if "lokr_w2" in entries:
            return Kronecker(small, entries["lokr_w2"])
        left, right = entries["lokr_w2_a"], entries["lokr_w2_b"]
        if "lokr_t2" in entries:
            # LyCORIS keeps (r, out) beside a core, else (out, r).
            left, right = left.T, spread_core(entries["lokr_t2"], right)
        return Kronecker(small, LowRank(left, right))


class GLoRA(WeightChange):
    """ΔW = (W·a₁·a₂ + b₁·b₂) · alpha/dim (arXiv 2306.07967)."""

    linear_in = ("a1.weight", "b1.weight")

    def draw(self) -> None:
        for name in ("a1.weight", "b1.weight"):
            kaiming(self.entries[name])
        for name in ("a2.weight", "b2.weight"):
            nn.init.zeros_(self.entries[name])

    def change(self, entries: Mapping[str, Tensor]) -> LowRank:
        """(out, 2r) · (2r, in·k·k): [W·a₁, b₁] · [a₂; b₂]; a₂ stands once for each place of a kernel."""
        turned, a2 = self._turned(entries), entries["a2.weight"].flatten(1)
        b2 = entries["b2.weight"].flatten(1)
        kernel = torch.eye(b2.shape[1] // a2.shape[1], dtype=a2.dtype, device=a2.device)
        up = torch.cat([turned.flatten(1), entries["b1.weight"].flatten(1)], 1)
        return LowRank(up, torch.cat([torch.kron(a2, kernel), b2]))

    def applied(self, x: Tensor, entries: Mapping[str, Tensor], strength: Strength) -> Tensor:
        """See WeightChange: (B, out, h, w) of a convolution by (out, r, k, k) behind (r, in), without ΔW."""
        turned, a2 = self._turned(entries), entries["a2.weight"].flatten(1)
        # Of a linear layer both terms are one product of 2r ranks.
        if turned.dim() == 2:
            return super().applied(x, entries, strength)
        own = LowRank(entries["b1.weight"].flatten(1), entries["b2.weight"])
        effect = Narrowed(turned, a2).applied(x, strength, self.layer)
        return effect + own.applied(x, strength, self.layer)

    def _turned(self, entries: Mapping[str, Tensor]) -> Tensor:
        """W·a₁: (out, r) or (out, r, k, k)."""
        weight, a1 = self.layer.weight.detach(), entries["a1.weight"].flatten(1)
        return torch.einsum("oi...,ir->or...", weight, a1.to(weight.dtype)).to(a1.dtype)

    @torch.no_grad()
    def shrink(self, ratio: float) -> None:
        for name in self.linear_in:  # the two are added, not multiplied
            self.entries[name].mul_(ratio)


class LowRankChange(WeightChange):
    """LoRA with DoRA (arXiv 2402.09353): the lengths of the rows of W + ΔW are needed."""

    linear_in = ("lora_up.weight", "lora_down.weight")
    strength = "lora_up.weight"

    def draw(self) -> None:
        for name in ("lora_down.weight", "lora_mid.weight"):
            if name in self.entries:
                kaiming(self.entries[name])
        self.or_zero("lora_up.weight", kaiming)

    def change(self, entries: Mapping[str, Tensor]) -> LowRank:
        """(out, r) and (r, in·k·k), or (r, in, k, k) with a core."""
        up, down = entries["lora_up.weight"].flatten(1), entries["lora_down.weight"].flatten(1)
        if "lora_mid.weight" in entries:
            down = spread_core(entries["lora_mid.weight"], down)
        return LowRank(up, down)
