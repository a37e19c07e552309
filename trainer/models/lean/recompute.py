"""A small computation whose intermediate values are not kept for the backward pass but made again there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


def recomputed(compute: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """`compute(*inputs)`, of any shapes, keeping the inputs alone until the backward pass.

    As torch.utils.checkpoint, without its cost per call. `compute` must draw nothing, take everything that
    learns as an input, and choose its number formats itself (it runs without autocast).
    """
    # For samples nothing is kept anyway.
    if not torch.is_grad_enabled():
        return compute(*inputs)
    return cast("Tensor", _Recomputed.apply(compute, *inputs))


def kept_as(again: Callable[[], Tensor], tensor: Tensor) -> saved_tensors_hooks:
    """Inside, what would keep `tensor` (any shape) for its backward pass makes it by `again` there."""
    place, numbers = tensor.untyped_storage().data_ptr(), tensor.numel()

    def pack(kept: Tensor) -> Tensor | torch.Size:
        whole = kept.numel() == numbers and kept.dtype == tensor.dtype and kept.is_contiguous()
        # Layers that work row by row keep it in another shape.
        return kept.shape if whole and kept.untyped_storage().data_ptr() == place else kept

    def unpack(kept: Tensor | torch.Size) -> Tensor:
        return again().view(kept) if isinstance(kept, torch.Size) else kept

    return saved_tensors_hooks(pack, unpack)


class _Recomputed(torch.autograd.Function):
    """Inputs and output have any shapes; gradients come in those of the inputs."""

    @staticmethod
    def forward(ctx: Any, compute: Callable[..., Tensor], *inputs: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  # torch passes what apply() got
        ctx.compute = compute
        ctx.save_for_backward(*inputs)
        return compute(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  # see above
        needed = ctx.needs_input_grad[1:]
        inputs = [
            # Leaves of a small graph of their own: the large one ends at this function.
            tensor.detach().requires_grad_(wanted)
            for tensor, wanted in zip(ctx.saved_tensors, needed, strict=True)
        ]
        with torch.enable_grad(), torch.autocast(gradient.device.type, enabled=False):
            output = ctx.compute(*inputs)
        wanted = [tensor for tensor in inputs if tensor.requires_grad]
        # An input that the computation does not touch has no gradient.
        found = iter(torch.autograd.grad(output, wanted, gradient, allow_unused=True))
        return (None, *(next(found) if tensor.requires_grad else None for tensor in inputs))
