"""Convolutions whose weight does not learn: nothing but the weight is kept for the backward pass.

torch keeps a convolution's input for the gradient of the weight, also where none is wanted: a third of what a
training step of Stable Diffusion keeps.

On a CPU the 3x3 convolutions of the smallest maps, where the weight is far larger than the map, are done as a
product with the unfolded map: oneDNN brings the weight into its own order anew at every call, which takes
longer than the product itself. Measured on one core of an Intel Xeon with AMX, forward and backward in ms:

    channels, map     bfloat16     float32
    1280, 8 x 8       43 -> 22     65 -> 58
    2560, 8 x 8      153 -> 48    214 -> 112
    1280, 16 x 16     57 -> 37    148 -> 135
    2560, 16 x 16    147 -> 71    342 -> 249

There 1x1 convolutions are products as well: oneDNN's convolution takes twice a product's time in bfloat16
(960 to 320 channels at 64 x 64, forward and backward: 11.8 -> 5.2 ms), and a little more in float32.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from trainer.models.lean.formats import format_at_work

SMALL_MAP = 256
"""Places of a batch's maps, all together, that are few beside a weight: 16 x 16."""
Pair = tuple[int, int]


class FrozenConv2d(nn.Conv2d):
    """A convolution that learns nothing; where it does, it is nn.Conv2d."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """(B, in, H, W) -> (B, out, h, w)."""
        learns = self.weight.requires_grad or (self.bias is not None and self.bias.requires_grad)
        # A compiler plans what is kept by itself, and cannot look into our functions.
        if learns or torch.compiler.is_compiling():
            return super().forward(input)
        dtype = format_at_work(input)
        bias = None if self.bias is None else self.bias.to(dtype)
        operation = _Unfolded if unfolds(self, input) else _Pointwise if multiplies(self, input) else _Frozen
        places = (cast("Pair", self.stride), cast("Pair", self.padding))
        with torch.autocast(input.device.type, enabled=False):
            return cast("Tensor", operation.apply(input.to(dtype), self.weight.to(dtype), bias, *places))


def can_be_frozen(convolution: nn.Conv2d) -> bool:
    """Whether FrozenConv2d does all that this one does."""
    plain = convolution.groups == 1 and convolution.dilation == (1, 1)
    return plain and convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)


def unfolds(convolution: nn.Conv2d, x: Tensor) -> bool:
    """Whether it is quicker as a product with the unfolded map, for x (B, in, H, W)."""
    return (
        x.device.type == "cpu"
        and convolution.kernel_size == (3, 3)
        and convolution.padding == (1, 1)
        and len(x) * x.shape[2] * x.shape[3] <= SMALL_MAP
        and convolution.weight.is_contiguous()
    )


def is_pointwise(convolution: nn.Conv2d) -> bool:
    """Whether it is a product at each place of a map."""
    return (
        convolution.kernel_size == (1, 1)
        and convolution.stride == (1, 1)
        and convolution.padding in {(0, 0), "valid"}
        and convolution.groups == 1
    )


def multiplies(convolution: nn.Conv2d, x: Tensor) -> bool:
    """Whether it is quicker as a product of the weight with x (B, in, H, W) as it lies."""
    return x.device.type == "cpu" and is_pointwise(convolution) and x.is_contiguous()


class _Frozen(torch.autograd.Function):
    """torch's convolution without its input in the graph.

    x (B, in, H, W) by the weight (out, in, k, k) and bias (out,) to (B, out, h, w).
    """

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # torch passes what apply() got
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.stride, ctx.padding = x.shape, stride, padding
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  # see above
        (weight,) = ctx.saved_tensors
        # The input's gradient needs its shape alone, not its numbers.
        by_x = conv2d_input(ctx.shape, weight, gradient, ctx.stride, ctx.padding)
        return by_x, None, None, None, None


class _Unfolded(torch.autograd.Function):
    """A 3x3 convolution as one product: columns are the places of all maps, with their neighbours.

    Shapes as `_Frozen`'s; in the product (out, in·9) by (in·9, B·h·w).
    """

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # torch passes what apply() got
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.stride, ctx.padding = x.shape, stride, padding
        columns = F.unfold(x, 3, padding=padding, stride=stride)  # (B, in·9, places)
        # All maps of the batch side by side: one product reads the weight once.
        together = columns.transpose(0, 1).flatten(1)
        product = weight.flatten(1) @ together
        product = product if bias is None else product.add_(bias[:, None])
        product = product.view(len(weight), len(x), -1).transpose(0, 1)  # (B, out, places)
        return product.reshape(len(x), len(weight), (x.shape[2] - 1) // stride[0] + 1, -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  # see above
        (weight,) = ctx.saved_tensors
        together = gradient.flatten(2).transpose(0, 1).flatten(1)  # (out, B·places)
        columns = weight.flatten(1).T @ together
        columns = columns.view(columns.shape[0], len(gradient), -1).transpose(0, 1)
        wide = columns.float()  # nine numbers are added up for each place
        folded = F.fold(wide, ctx.shape[2:], 3, padding=ctx.padding, stride=ctx.stride)
        return folded.to(gradient.dtype), None, None, None, None


class _Pointwise(torch.autograd.Function):
    """A 1x1 convolution as a product for each map; shapes as `_Frozen`'s."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # torch passes what apply() got
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, _stride: Pair, _padding: Pair
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape = x.shape
        return by_place(weight.flatten(1), x.flatten(2), bias).unflatten(2, x.shape[2:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]  # see above
        (weight,) = ctx.saved_tensors
        by_x = by_place(weight.flatten(1).T, gradient.flatten(2))
        return by_x.view(ctx.shape), None, None, None, None


def by_place(matrix: Tensor, maps: Tensor, bias: Tensor | None = None) -> Tensor:
    """(out, in) times each column of the maps (B, in, places), plus the bias (out,): (B, out, places)."""
    if len(maps) == 1:  # in a batch torch would copy a transposed matrix
        only = maps[0]
        return (matrix @ only if bias is None else torch.addmm(bias[:, None], matrix, only))[None]
    matrices = matrix.expand(len(maps), -1, -1)
    return matrices.bmm(maps) if bias is None else torch.baddbmm(bias[:, None], matrices, maps)


def add_by_place(output: Tensor, matrix: Tensor, maps: Tensor) -> Tensor:
    """Add `by_place(matrix, maps)` to the output (B, out, places) in place; returns it."""
    if len(maps) == 1:
        output[0].addmm_(matrix, maps[0])
        return output
    return output.baddbmm_(matrix.expand(len(maps), -1, -1), maps)
