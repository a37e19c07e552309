"""A frozen linear layer with its LoRA as one operation: W·x + b + up·down·x · strength.

Made of single operations it would change number formats of whole activations to and fro, keep the same
activation twice and add two outputs; this keeps `x` and the ranks. On one core of an Intel Xeon with AMX,
4096 places of 320 channels, forward and backward: 20.5 -> 10.9 ms in bfloat16, 29.7 -> 24.4 ms in float32.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from peft.tuners import lora
from torch import Tensor, nn

from trainer.models.lean.formats import format_at_work


class LeanLinear(lora.Linear):
    """PEFT's layer without what plain LoRA does not use: other adapters, merging, dropouts, DoRA."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(…, out) for x (…, in)."""
        [name] = self.active_adapters
        # Whatever is not the plain case PEFT does itself; compilers fuse single operations on their own.
        if args or kwargs or self.disable_adapters or self.merged or torch.compiler.is_compiling():
            return super().forward(x, *args, **kwargs)
        down, up = (cast("Tensor", side[name].weight) for side in (self.lora_A, self.lora_B))
        return with_lora(x, cast("nn.Linear", self.base_layer), down, up, self.scaling[name])


def with_lora(x: Tensor, layer: nn.Linear, down: Tensor, up: Tensor, strength: float) -> Tensor:
    """The layer's output for `x` (…, in) with a LoRA of (r, in) and (out, r)."""
    dtype = format_at_work(x)
    bias = None if layer.bias is None else layer.bias.to(dtype)
    # Formats are chosen already; under autocast each product would convert them again.
    with torch.autocast(x.device.type, enabled=False):
        return cast("Tensor", _Linear.apply(x.to(dtype), layer.weight.to(dtype), bias, down, up, strength))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # torch passes what apply() got
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, strength: float
    ) -> Tensor:
        """x (…, in), weight (out, in), bias (out,), down (r, in), up (out, r) -> (…, out)."""
        rows = x.reshape(-1, x.shape[-1])
        # The strength goes into the smallest matrix: r numbers a row instead of a whole activation.
        narrow, wide = down.to(x.dtype), (up * strength).to(x.dtype)
        ranks = rows @ narrow.T
        # Added in place: no second output beside the layer's own.
        output = F.linear(rows, weight, bias).addmm_(ranks, wide.T)
        # x is kept for lora_down's gradient alone (LoRA-FA has none).
        kept = rows if ctx.needs_input_grad[3] else None
        ctx.save_for_backward(kept, weight, narrow, wide, ranks)
        ctx.shape, ctx.strength, ctx.formats = x.shape, strength, (down.dtype, up.dtype)
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  # see above
        """Gradients of x (…, in), down (r, in) and up (out, r) for that of the output (…, out)."""
        rows, weight, narrow, wide, ranks = ctx.saved_tensors
        gradient = gradient.reshape(-1, gradient.shape[-1])
        by_ranks = gradient @ wide
        needs_x, _, _, needs_down, needs_up, _ = ctx.needs_input_grad
        by_down = (by_ranks.T @ rows).to(ctx.formats[0]) if needs_down else None
        # The wide matrix on the right: a left one is turned round first (4096 x 2560 in float32: 8 -> 2 ms).
        by_up = (ranks.T @ gradient).T.to(ctx.formats[1]).mul_(ctx.strength) if needs_up else None
        # The first layer's input needs none: a third of its backward pass.
        by_x = (gradient @ weight).addmm_(by_ranks, narrow).view(ctx.shape) if needs_x else None
        return by_x, None, None, by_down, by_up, None
