"""The change ΔW of a weight as the factors that it is made of, applied without building it.

A module's output takes ΔW·x, DoRA takes ⟨W, ΔW⟩ and ‖ΔW‖² of each row, "Scale weight norms" the latter: all
three follow from the factors by small products. What is as large as the module's output or its weight is not
kept for the backward pass. `x` is (B, …, in) for a Linear, (B, in, h, w) for a
convolution; "rows" are the outputs of the module, always in the first dimension of a weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.models.lean.recompute import recomputed

LinearOrConv = nn.Linear | nn.Conv2d
Strength = Tensor | float


class Delta(Protocol):
    """What all of them can tell of ΔW."""

    def applied(self, x: Tensor, strength: Strength, layer: LinearOrConv) -> Tensor:
        """strength · ΔW·x in x's number format; `strength` is one number or one per row (out,)."""
        ...

    def along(self, weight: Tensor) -> Tensor:
        """⟨row of W, row of ΔW⟩ (out,) for a weight W (out, in) or (out, in, k, k)."""
        ...

    def squares(self) -> Tensor:
        """‖row of ΔW‖² (out,)."""
        ...


def operate(layer: LinearOrConv, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The layer's own operation on x with another weight (out, in, …) and bias (out,); any number of rows."""
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight.flatten(1), bias)
    weight = weight.reshape(len(weight), -1, *layer.kernel_size)
    padding = cast("tuple[int, int]", layer.padding)
    return F.conv2d(x, weight, bias, layer.stride, padding, layer.dilation)


def pointwise(x: Tensor, weight: Tensor) -> Tensor:
    """A product with (out, in) at every place of (B, …, in) or (B, in, h, w); out takes in's place."""
    return F.conv2d(x, weight[:, :, None, None]) if x.dim() == 4 else F.linear(x, weight)


def scaled(weight: Tensor, strength: Strength) -> Tensor:
    """A weight (out, …) times one number or one per row."""
    if isinstance(strength, Tensor) and strength.dim():
        return weight * strength.view(-1, *[1] * (weight.dim() - 1))
    return weight * strength


def by_row(values: Tensor, like: Tensor) -> Tensor:
    """(out,) shaped to be multiplied with a module's output."""
    return values.view(-1, 1, 1) if like.dim() == 4 else values


@dataclass(frozen=True)
class LowRank:
    """ΔW = up · down: (out, r) and (r, in) or (r, in, k, k)."""

    up: Tensor
    down: Tensor

    def applied(self, x: Tensor, strength: Strength, layer: LinearOrConv) -> Tensor:
        """See Change."""
        # Into `up`, the smallest thing it can be multiplied with; in float32, before it is rounded.
        up = scaled(self.up, strength).to(x.dtype)
        return pointwise(operate(layer, x, self.down.to(x.dtype)), up)

    def along(self, weight: Tensor) -> Tensor:
        """See Change: Σ_r up ∘ (W·downᵀ)."""
        down = self.down.flatten(1)
        return ((weight.flatten(1) @ down.to(weight.dtype).T) * self.up).sum(1)

    def squares(self) -> Tensor:
        """See Change: Σ_r up ∘ (up·(down·downᵀ))."""
        down = self.down.flatten(1)
        # r x r numbers between the two; rounding may bring a square a little below 0.
        return ((self.up @ (down @ down.T)) * self.up).sum(1).clamp(min=0)


COST_OF_BUILDING = 200
"""What building ΔW costs, with its gradients, in places of x that are multiplied with it (on a CPU)."""


@dataclass(frozen=True)
class Hadamard:
    """ΔW = first ∘ second, elementwise, both of rank r.

    It has rank r²: row o of its `up` is row o of the one times row o of the other, each with each, and its
    `down` alike. While r² is small that is quicker than building it.
    """

    first: LowRank
    second: LowRank

    def applied(self, x: Tensor, strength: Strength, layer: LinearOrConv) -> Tensor:
        """See Change."""
        places = x.numel() // x.shape[1 if x.dim() == 4 else -1]
        # Counted in multiplications; building costs as much as COST_OF_BUILDING more places.
        chain = self.rank * (self._out + self._width) * places
        if chain < self._out * self._width * (places + COST_OF_BUILDING):
            return self.low_rank.applied(x, strength, layer)
        learned = (strength,) if isinstance(strength, Tensor) else ()
        return self._built(
            lambda whole, x, *own: whole.applied(x, own[0] if own else strength, layer), x, *learned
        )

    def along(self, weight: Tensor) -> Tensor:
        """See Change."""
        if self.rank < COST_OF_BUILDING:
            return self.low_rank.along(weight)
        return self._built(lambda whole, weight: whole.along(weight), weight)

    def squares(self) -> Tensor:
        """See Change."""
        if self.rank < COST_OF_BUILDING:
            return self.low_rank.squares()
        return self._built(lambda whole: whole.squares())

    def _built(self, use: Callable[..., Tensor], *others: Tensor) -> Tensor:
        """What ΔW (out, in, …) itself is used for; it is built again in the backward pass."""

        def compute(  # (out, r) and (r, in·k·k), twice
            up: Tensor, down: Tensor, second_up: Tensor, second_down: Tensor, *others: Tensor
        ) -> Tensor:
            return use(Dense((up @ down) * (second_up @ second_down)), *others)

        # Given one by one: autograd follows tensors, not dataclasses.
        sides = (self.first.up, self.first.down, self.second.up, self.second.down)
        return recomputed(compute, *sides, *others)

    @property
    def rank(self) -> int:
        """Ranks of ΔW: r²."""
        return self.first.up.shape[1] * self.second.up.shape[1]

    @property
    def _out(self) -> int:
        """Rows of ΔW."""
        return len(self.first.up)

    @property
    def _width(self) -> int:
        """Numbers in a row: in·k·k."""
        return self.first.down[0].numel()

    @cached_property
    def low_rank(self) -> LowRank:
        """(out, r²) and (r², in) or (r², in, k, k)."""
        up = self.first.up[:, :, None] * self.second.up[:, None]
        down = self.first.down[:, None] * self.second.down[None]
        return LowRank(up.flatten(1), down.flatten(0, 1))


@dataclass(frozen=True)
class Kronecker:
    """ΔW = small ⊗ large: (o₁, i₁) and (o₂, i₂) or (o₂, i₂, k, k); `large` whole or as a LowRank."""

    small: Tensor
    large: Tensor | LowRank

    def applied(self, x: Tensor, strength: Strength, layer: LinearOrConv) -> Tensor:
        """See Change: x's features count as (i₁, i₂), each factor acts on one of the two."""
        large = self.large if isinstance(self.large, LowRank) else None
        factors = (self.large,) if large is None else (large.up, large.down)
        # One number goes into the small factor; one per row (rank dropout, DoRA) waits for the output.
        each = (strength,) if isinstance(strength, Tensor) and strength.dim() else ()
        small = self.small if each else self.small * strength

        def compute(x: Tensor, small: Tensor, *others: Tensor) -> Tensor:
            """(B, …, o₁·o₂) or (B, o₁·o₂, h, w), all in x's number format."""
            product = Kronecker(small, others[0] if large is None else LowRank(others[0], others[1]))
            effect = product._convolved(x, layer) if x.dim() == 4 else product._multiplied(x)
            return effect * by_row(others[-1], effect) if each else effect

        others = [factor.to(x.dtype) for factor in (*factors, *each)]  # pyright: ignore[reportAttributeAccessIssue]  # tensors
        return recomputed(compute, x, small.to(x.dtype), *others)

    def _multiplied(self, x: Tensor) -> Tensor:
        """(B, …, i₁·i₂) -> (B, …, o₁·o₂) for a Linear, all factors in x's number format."""
        rows, columns = self.small.shape
        weights = (self.large.down, self.large.up) if isinstance(self.large, LowRank) else (self.large,)
        x = x.unflatten(-1, (columns, -1))  # (B, …, i₁, i₂)
        if rows <= columns:  # the fewer are left for the other factor, the better
            x = torch.einsum("ac,...cd->...ad", self.small, x)
        for weight in weights:
            x = F.linear(x, weight)
        if rows > columns:
            x = torch.einsum("ac,...cb->...ab", self.small, x)
        return x.flatten(-2)

    def _convolved(self, x: Tensor, layer: LinearOrConv) -> Tensor:
        """(B, i₁·i₂, h, w) -> (B, o₁·o₂, h, w) for a convolution."""
        count, columns = len(x), self.small.shape[1]
        # i₁ becomes part of the batch: the large factor sees the same convolution i₁ times.
        x = x.reshape(count * columns, -1, *x.shape[2:])
        if isinstance(self.large, LowRank):
            x = pointwise(operate(layer, x, self.large.down), self.large.up)
        else:
            x = operate(layer, x, self.large)
        mixed = self.small @ x.reshape(count, columns, -1)  # (B, o₁, o₂·h·w)
        return mixed.reshape(count, -1, *x.shape[2:])

    def along(self, weight: Tensor) -> Tensor:
        """See Change."""
        rows, columns = self.small.shape
        weight = weight.reshape(rows, -1, columns, weight[0].numel() // columns)  # (o₁, o₂, i₁, i₂·k·k)
        # ⟨W, small ⊗ large⟩ row by row: the i₁ are summed first, so that nothing grows to W's size twice.
        inner = self.small.to(weight.dtype)[:, None, None] @ weight  # (o₁, o₂, 1, i₂·k·k)
        return (inner.squeeze(2) * self._whole_large().flatten(1)).sum(2).flatten()

    def squares(self) -> Tensor:
        """See Change."""
        large = self._whole_large().flatten(1)
        return torch.outer(self.small.square().sum(1), large.square().sum(1)).flatten()

    def _whole_large(self) -> Tensor:
        """(o₂, i₂) or (o₂, i₂, k, k)."""
        if isinstance(self.large, LowRank):
            return self.large.up @ self.large.down.flatten(1)
        return self.large


@dataclass(frozen=True)
class Narrowed:
    """ΔW = wide ∘ narrow for a convolution: (out, r, k, k) after a 1×1 (r, in)."""

    wide: Tensor
    narrow: Tensor

    def applied(self, x: Tensor, strength: Strength, layer: LinearOrConv) -> Tensor:
        """See Change."""
        wide = scaled(self.wide, strength).to(x.dtype)
        return operate(layer, pointwise(x, self.narrow.to(x.dtype)), wide)


@dataclass(frozen=True)
class Dense:
    """ΔW itself, (out, in) or (out, in, k, k): where its factors would cost more."""

    whole: Tensor

    def applied(self, x: Tensor, strength: Strength, layer: LinearOrConv) -> Tensor:
        """See Change."""
        return operate(layer, x, scaled(self.whole, strength).to(x.dtype))

    def along(self, weight: Tensor) -> Tensor:
        """See Change."""
        return (weight.flatten(1) * self.whole.flatten(1)).sum(1)

    def squares(self) -> Tensor:
        """See Change."""
        return self.whole.flatten(1).square().sum(1)
