"""A frozen part that keeps smaller weights than it computes with: "fp8 base" and "16-bit base".

In 8 bits each weight of a Linear or Conv2d is kept as whole numbers from -127 to 127, with a factor for each
row (int8), or as float8 (e4m3: 4 bits of exponent, 3 of fraction), with one power of two for the whole
tensor, so that its largest number uses the format's range: without that most weights of a UNet would fall
where float8 has hardly any digits. Or it stays as it is in the file ("file"), to the digit. A layer makes the
ordinary weight for its own work and lets it go again; going backwards it is made anew, so that no step holds
all of them.

Libraries' own 8-bit layers do more than that: bitsandbytes' Linear8bitLt rounds what goes through it as well,
and has no convolutions; torchao makes tensors of another class, which LoRA types that build on a weight would
have to know.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from trainer.plan.memory import KeptBase
from trainer.settings import EightBitFormat

FORMATS: Mapping[EightBitFormat, torch.dtype] = {"int8": torch.int8, "float8": torch.float8_e4m3fn}
LARGEST_NUMBER = {torch.int8: 127.0, torch.float8_e4m3fn: torch.finfo(torch.float8_e4m3fn).max}
SPARED = ("conv_in", "conv_out", "time_embedding.", "add_embedding.")
"""Layers at both ends of a UNet stay as they are: they are small, and everything passes through them."""


def squeezed(weight: Tensor, stored: torch.dtype) -> tuple[Tensor, Tensor]:
    """A weight (out, …) in 8 bits, and what to multiply it with: (out, 1, …) for int8, (1, 1, …) for float8.

    The factors have few digits themselves: bfloat16 and float16 hold them, too. Ordinary numbers stay.
    """
    if stored not in LARGEST_NUMBER:
        return weight, torch.ones([1] * weight.dim())
    numbers = weight.to(torch.float32, copy=True)
    rows = tuple(range(1, weight.dim())) if stored == torch.int8 else tuple(range(weight.dim()))
    largest = torch.maximum(numbers.amax(rows, keepdim=True), -numbers.amin(rows, keepdim=True))
    factor = largest / LARGEST_NUMBER[stored]
    factor = factor.bfloat16().float() if stored == torch.int8 else factor.log2().ceil().exp2()
    numbers /= factor.masked_fill_(largest == 0, 1.0)
    if stored == torch.int8:
        numbers.round_().clamp_(-LARGEST_NUMBER[stored], LARGEST_NUMBER[stored])
    return numbers.to(stored), factor


def dequantized(stored: Tensor, factor: Tensor, dtype: torch.dtype) -> Tensor:
    """The weight again, in a number format to compute in."""
    weight = stored.to(dtype)
    return weight.mul_(factor.to(dtype)) if stored.dtype in LARGEST_NUMBER else weight


class _Scratch(threading.local):
    """Memory for the one weight that a thread works with: on a CPU, new memory for each stays in pieces."""

    def __init__(self) -> None:
        self.memory: dict[torch.dtype, Tensor] = {}

    def restored(self, stored: Tensor, factor: Tensor, dtype: torch.dtype) -> Tensor:
        """The weight again, until the next one is asked for."""
        if stored.device.type != "cpu":  # a card's memory is kept by torch
            return dequantized(stored, factor, dtype)
        memory = self.memory.get(dtype)
        if memory is None or len(memory) < stored.numel():
            with torch.inference_mode(mode=False):  # what is made inside of it could not be used outside
                self.memory[dtype] = memory = torch.empty(stored.numel(), dtype=dtype)
        weight = memory[: stored.numel()].view(stored.shape)
        weight.copy_(stored)
        return weight.mul_(factor.to(dtype)) if stored.dtype in LARGEST_NUMBER else weight


_scratch = _Scratch()


_outlined: ContextVar[bool] = ContextVar("outlined", default=False)


@contextmanager
def outlined() -> Iterator[None]:
    """Inside, the weight of such a layer has its size, format and device, and no numbers.

    PEFT asks each layer for it some twenty times, only for these.
    """
    before = _outlined.set(True)
    try:
        yield
    finally:
        _outlined.reset(before)


class SmallWeights:
    """What both kinds of layer share."""

    stored: Tensor
    factor: Tensor
    bias: Any
    plain: torch.dtype
    """Number format of the ordinary weight."""

    @property
    def weight(self) -> Tensor:
        """The ordinary weight, made anew; for those who look at it or build on it (DoRA, OFT, …)."""
        if _outlined.get():
            return torch.empty(1, dtype=self.plain, device=self.stored.device).expand(self.stored.shape)
        return dequantized(self.stored, self.factor, self.plain)

    @torch.no_grad()
    def take(self, weight: Tensor) -> None:
        """Keep this weight."""
        self.stored, self.factor = squeezed(weight, self.stored.dtype)


class SmallLinear(SmallWeights, nn.Linear):  # pyright: ignore[reportIncompatibleVariableOverride]  # `weight` is made when asked
    """nn.Linear with a small weight."""

    def __init__(self, layer: nn.Linear, stored: torch.dtype) -> None:
        nn.Module.__init__(self)  # nn.Linear's own would make a weight
        self.in_features, self.out_features, self.bias = layer.in_features, layer.out_features, layer.bias
        _begin(self, layer.weight, stored)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # as nn.Linear names it
        """(…, in) -> (…, out)."""
        input = _to_compute(input)  # noqa: A001  # see above
        bias = None if self.bias is None else self.bias.to(input.dtype)
        return _LinearWork.apply(input, self.stored, self.factor, bias)


class SmallConv2d(SmallWeights, nn.Conv2d):  # pyright: ignore[reportIncompatibleVariableOverride]  # as above
    """nn.Conv2d with a small weight."""

    def __new__(cls, *sizes: Any, **more: Any) -> Any:
        """PEFT makes the convolutions of a LoRA by the class of the layer: those are ordinary ones."""
        if sizes and not isinstance(sizes[0], nn.Conv2d):
            return nn.Conv2d(*sizes, **more)
        return super().__new__(cls)

    def __init__(self, layer: nn.Conv2d, stored: torch.dtype) -> None:
        nn.Module.__init__(self)  # nn.Conv2d's own would make a weight
        kept = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
        for name in (*kept, "transposed", "output_padding", "padding_mode", "bias"):
            setattr(self, name, getattr(layer, name))
        _begin(self, layer.weight, stored)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # as nn.Conv2d names it
        """(B, in, h, w) -> (B, out, h, w)."""
        input = _to_compute(input)  # noqa: A001  # see above
        bias = None if self.bias is None else self.bias.to(input.dtype)
        options = self.stride, self.padding, self.dilation, self.groups
        return _Conv2dWork.apply(input, self.stored, self.factor, bias, options)


def _begin(layer: Any, weight: Tensor, stored: torch.dtype) -> None:
    """The buffers for the weight; on the meta device they are filled later."""
    rows = len(weight) if stored == torch.int8 else 1
    factor = torch.ones([rows, *[1] * (weight.dim() - 1)], device=weight.device)
    layer.register_buffer("stored", torch.empty(weight.shape, dtype=stored, device=weight.device))
    layer.register_buffer("factor", factor)
    layer.plain = weight.dtype
    if weight.device.type != "meta":
        layer.take(weight)


def _to_compute(values: Tensor) -> Tensor:
    """In the number format of torch.autocast, which does not look into our own functions."""
    kind = values.device.type
    return values.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else values


class _LinearWork(torch.autograd.Function):
    """Keeps the small weight for the way back, not the one made of it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, stored: Tensor, factor: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(stored, factor)
        return F.linear(values, _scratch.restored(stored, factor, values.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        [grad], [stored, factor] = grads, ctx.saved_tensors
        return grad @ _scratch.restored(stored, factor, grad.dtype), None, None, None


class _Conv2dWork(torch.autograd.Function):
    """The same of a convolution."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, stored: Tensor, factor: Tensor, bias: Tensor | None, options: Sequence[Any]
    ) -> Tensor:
        ctx.save_for_backward(stored, factor)
        ctx.options, ctx.shape = options, values.shape
        return F.conv2d(values, _scratch.restored(stored, factor, values.dtype), bias, *options)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        [grad], [stored, factor] = grads, ctx.saved_tensors
        weight = _scratch.restored(stored, factor, grad.dtype)
        return conv2d_input(ctx.shape, weight, grad, *ctx.options), None, None, None, None


def squeeze(module: nn.Module, kind: KeptBase) -> nn.Module:
    """Have a frozen UNet keep small weights, layer by layer; on the meta device only room for them."""
    for path, layer in list(module.named_modules()):
        if f"{path}.".startswith(SPARED) or type(layer) not in (nn.Linear, nn.Conv2d):
            continue
        parent, _, name = path.rpartition(".")
        smaller: Any = SmallLinear if isinstance(layer, nn.Linear) else SmallConv2d
        small = smaller(layer, layer.weight.dtype if kind == "file" else FORMATS[kind])
        setattr(module.get_submodule(parent), name, small)
    return module


def fill(
    module: nn.Module, names: Iterable[str], read: Callable[[str], Tensor], dtype: torch.dtype
) -> list[str]:
    """Read a squeezed module's tensors one by one; returns which of its own are not among `names`.

    So no more than one weight is in memory beside the small ones. What is not squeezed gets `dtype`, in which
    the others compute. Raises RuntimeError for a wrong shape.
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
        if isinstance(layer, SmallWeights) and last == "weight":
            layer.take(tensor)
            layer.plain = dtype
        else:
            setattr(layer, last, nn.Parameter(tensor.to(dtype), requires_grad=False))
    return [name for name, tensor in module.state_dict().items() if tensor.device.type == "meta"]
