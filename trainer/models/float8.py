"""A frozen part with its weights in 8 bits: "fp8 base".

Each weight of a Linear or Conv2d is kept as float8 (e4m3: 4 bits of exponent, 3 of fraction) with one power
of two for the whole tensor, so that its largest number uses the format's range; without that most weights
of a UNet would fall where float8 has hardly any digits. A layer makes the ordinary weight for its own work
and lets it go again; going backwards it is made anew, so that no step holds all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

STORED = torch.float8_e4m3fn
LARGEST = torch.finfo(STORED).max
SPARED = ("conv_in", "conv_out", "time_embedding.", "add_embedding.")
"""Layers at both ends of a UNet stay as they are: they are small, and everything passes through them."""


def squeezed(weight: Tensor) -> tuple[Tensor, float]:
    """A weight in float8, and what to multiply it with: a power of two, which costs no digits."""
    largest = float(weight.abs().max()) if weight.numel() else 0.0
    factor = 2.0 ** math.ceil(math.log2(largest / LARGEST)) if largest > 0 else 1.0
    return (weight.float() / factor).to(STORED), factor


def restored(stored: Tensor, factor: float, dtype: torch.dtype) -> Tensor:
    """The weight again, in a number format to compute in."""
    return stored.to(dtype) * factor


class Float8:
    """What both kinds of layer share."""

    stored: Tensor
    factor: float
    bias: Any

    @property
    def weight(self) -> Tensor:
        """The ordinary weight, made anew; for those who look at it or build on it (DoRA, OFT, …)."""
        dtype = torch.get_default_dtype() if self.bias is None else self.bias.dtype
        return restored(self.stored, self.factor, getattr(self, "plain", dtype))

    @torch.no_grad()
    def take(self, weight: Tensor) -> None:
        """Keep this weight."""
        self.stored, self.factor = squeezed(weight)
        self.plain = weight.dtype


class Float8Linear(Float8, nn.Linear):  # pyright: ignore[reportIncompatibleVariableOverride]  # `weight` is made when asked
    """nn.Linear with its weight in 8 bits."""

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)  # nn.Linear's own would make a weight
        self.in_features, self.out_features, self.bias = layer.in_features, layer.out_features, layer.bias
        _begin(self, layer.weight)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # as nn.Linear names it
        """(…, in) -> (…, out)."""
        input = _to_compute(input)  # noqa: A001  # see above
        bias = None if self.bias is None else self.bias.to(input.dtype)
        return _LinearWork.apply(input, self.stored, self.factor, bias)


class Float8Conv2d(Float8, nn.Conv2d):  # pyright: ignore[reportIncompatibleVariableOverride]  # as above
    """nn.Conv2d with its weight in 8 bits."""

    def __new__(cls, *sizes: Any, **more: Any) -> Any:
        """PEFT makes the convolutions of a LoRA by the class of the layer: those are ordinary ones."""
        if sizes and not isinstance(sizes[0], nn.Conv2d):
            return nn.Conv2d(*sizes, **more)
        return super().__new__(cls)

    def __init__(self, layer: nn.Conv2d) -> None:
        nn.Module.__init__(self)  # nn.Conv2d's own would make a weight
        kept = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
        for name in (*kept, "transposed", "output_padding", "padding_mode", "bias"):
            setattr(self, name, getattr(layer, name))
        _begin(self, layer.weight)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # as nn.Conv2d names it
        """(B, in, h, w) -> (B, out, h, w)."""
        input = _to_compute(input)  # noqa: A001  # see above
        bias = None if self.bias is None else self.bias.to(input.dtype)
        options = self.stride, self.padding, self.dilation, self.groups
        return _Conv2dWork.apply(input, self.stored, self.factor, bias, options)


def _begin(layer: Any, weight: Tensor) -> None:
    """The buffer for the weight; on the meta device it is filled later."""
    layer.register_buffer("stored", torch.empty(weight.shape, dtype=STORED, device=weight.device))
    layer.factor, layer.plain = 1.0, weight.dtype
    if weight.device.type != "meta":
        layer.take(weight)


def _to_compute(values: Tensor) -> Tensor:
    """In the number format of torch.autocast, which does not look into our own functions."""
    kind = values.device.type
    return values.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else values


class _LinearWork(torch.autograd.Function):
    """Keeps the 8-bit weight for the way back, not the one made of it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, stored: Tensor, factor: float, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(stored)
        ctx.factor = factor
        return F.linear(values, restored(stored, factor, values.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        [grad], [stored] = grads, ctx.saved_tensors
        return grad @ restored(stored, ctx.factor, grad.dtype), None, None, None


class _Conv2dWork(torch.autograd.Function):
    """The same of a convolution."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, stored: Tensor, factor: float, bias: Tensor | None, options: Sequence[Any]
    ) -> Tensor:
        ctx.save_for_backward(stored)
        ctx.factor, ctx.options, ctx.shape = factor, options, values.shape
        return F.conv2d(values, restored(stored, factor, values.dtype), bias, *options)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        [grad], [stored] = grads, ctx.saved_tensors
        weight = restored(stored, ctx.factor, grad.dtype)
        return conv2d_input(ctx.shape, weight, grad, *ctx.options), None, None, None, None


def squeeze(module: nn.Module) -> nn.Module:
    """Put the weights of a frozen UNet into 8 bits, layer by layer; on the meta device only room for them."""
    for path, layer in list(module.named_modules()):
        if f"{path}.".startswith(SPARED) or type(layer) not in (nn.Linear, nn.Conv2d):
            continue
        parent, _, name = path.rpartition(".")
        small = Float8Linear(layer) if isinstance(layer, nn.Linear) else Float8Conv2d(layer)
        setattr(module.get_submodule(parent), name, small)
    return module


def fill(module: nn.Module, names: Iterable[str], read: Callable[[str], Tensor]) -> list[str]:
    """Read a squeezed module's tensors one by one; returns which of its own are not among `names`.

    So no more than one weight is in memory beside the 8-bit ones. Raises RuntimeError for a wrong shape.
    """
    for name in names:
        path, _, last = name.rpartition(".")
        try:
            layer: Any = module.get_submodule(path)
        except AttributeError:
            continue  # a tensor that the module does not have
        tensor, mine = read(name), getattr(layer, last, None)
        if not isinstance(mine, Tensor):
            continue
        if mine.shape != tensor.shape:
            raise RuntimeError(f"{name}: {tuple(tensor.shape)} instead of {tuple(mine.shape)}")
        if isinstance(layer, Float8) and last == "weight":
            layer.take(tensor)
        else:
            setattr(layer, last, nn.Parameter(tensor, requires_grad=False))
    return [name for name, tensor in module.state_dict().items() if tensor.device.type == "meta"]
