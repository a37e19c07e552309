"""Norms with SiLU and gated units: what they need is kept, what they give is computed anew.

torch keeps a norm's output for SiLU's backward pass, and what GELU gives for the product behind it. Both are
as large as their input and take hardly any time. Stable Diffusion 1.5 at 512 pixels keeps 615 instead of
860 MB in bfloat16 (1216 instead of 1705 in float32), for 2 % of a step's time on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers.models.activations import GEGLU
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from trainer.models.lean.recompute import kept_as, recomputed


class LeanResnetBlock(ResnetBlock2D):
    """diffusers' block of two convolutions, where it is a plain one (`can_be_lean`)."""

    def forward(self, input_tensor: Tensor, temb: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(B, in, h, w) and the embedded time (B, t) -> (B, out, h, w)."""
        if torch.compiler.is_compiling():  # a compiler plans what is kept by itself
            return super().forward(input_tensor, temb, *args, **kwargs)
        assert self.time_emb_proj is not None  # noqa: S101  # for the type checker: `can_be_lean` asked
        time = self.time_emb_proj(self.nonlinearity(temb))[:, :, None, None]
        middle = self.conv1(activated(self.norm1, self.nonlinearity, input_tensor)) + time
        change = self.conv2(activated(self.norm2, self.nonlinearity, middle))
        if self.conv_shortcut is not None:
            input_tensor = self.conv_shortcut(input_tensor.contiguous())
        return input_tensor + change


class LeanFeedForward(FeedForward):
    """diffusers' feed-forward with a gated unit; of its inside only the first layer's output is kept."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(…, width) -> (…, width)."""
        if torch.compiler.is_compiling():
            return super().forward(hidden_states, *args, **kwargs)
        unit, _, last = cast("tuple[GEGLU, nn.Module, nn.Module]", self.net)
        both = unit.proj(hidden_states)
        if not torch.is_grad_enabled():
            return last(gated(both))
        opened: list[Tensor] = []
        product = cast("Tensor", _Gated.apply(both, opened))

        def again() -> Tensor:
            opened[:] = [_opening(both.detach())]
            return both.detach().chunk(2, dim=-1)[0] * opened[0]

        # A LoRA on the last layer wants its input for the gradient.
        with kept_as(again, product):
            return last(product)


def gated(both: Tensor) -> Tensor:
    """Values and their gate (…, 2 · width) -> values · GELU(gate), (…, width)."""
    return both.chunk(2, dim=-1)[0] * _opening(both)


def _opening(both: Tensor) -> Tensor:
    return F.gelu(both.chunk(2, dim=-1)[1])


class _Gated(torch.autograd.Function):
    """`gated`, of which nothing but the input is kept.

    `opened`: how far the gate is open, where the layer behind has just computed it for its own backward pass.
    4096 places of 1280 values, backward on one core of an Intel Xeon with AMX, against the single operations:
    26 -> 19 ms in bfloat16, 40 -> 25 ms in float32.
    """

    @staticmethod
    def forward(ctx: Any, both: Tensor, opened: list[Tensor]) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  # torch passes what apply() got
        ctx.save_for_backward(both)
        ctx.opened = opened
        return gated(both)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]  # see above
        (both,) = ctx.saved_tensors
        values, gate = both.chunk(2, dim=-1)
        opening = ctx.opened.pop() if ctx.opened else _opening(both)
        found = torch.empty_like(both)
        by_values, by_gate = found.chunk(2, dim=-1)
        torch.mul(gradient, opening, out=by_values)
        torch.mul(gradient, values, out=by_gate)
        torch.ops.aten.gelu_backward.grad_input(by_gate, gate, grad_input=by_gate)
        return found, None


def can_be_lean(block: ResnetBlock2D | FeedForward) -> bool:
    """Whether LeanResnetBlock or LeanFeedForward does all that this one does."""
    if isinstance(block, FeedForward):
        unit, dropout, *rest = block.net
        return type(unit) is GEGLU and isinstance(dropout, nn.Dropout) and dropout.p == 0 and len(rest) == 1
    resizes = block.upsample is not None or block.downsample is not None
    added = block.time_embedding_norm == "default" and block.time_emb_proj is not None
    plain = not resizes and not block.skip_time_act and block.dropout.p == 0
    return plain and added and block.output_scale_factor == 1


def activated(norm: nn.Module, activation: nn.Module, x: Tensor) -> Tensor:
    """`activation(norm(x))`, of x's shape. A norm that learns or that others change acts as it is."""
    if norm._forward_hooks or any(weight.requires_grad for weight in norm.parameters()):  # noqa: SLF001  # torch has no question for it
        return activation(norm(x))
    return recomputed(as_here(x, lambda values: activation(norm(values))), x)


def as_here(x: Tensor, compute: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """`compute` in the number formats of this place, wherever it is called later."""
    device = x.device.type
    enabled, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)

    def computed(values: Tensor) -> Tensor:
        with torch.autocast(device, dtype, enabled=enabled):
            return compute(values)

    return computed
