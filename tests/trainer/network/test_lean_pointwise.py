"""One operation for a 1x1 convolution and its LoRA: outputs and gradients are PEFT's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners import lora
from torch import Tensor, nn

from trainer.network.lean_lora import make_lora_lean
from trainer.network.lean_pointwise import LeanPointwise


def layer(*, bias: bool = True, dtype: torch.dtype = torch.float32, **shape: Any) -> Any:
    """PEFT's layer (6 → 10 channels, rank 2), its weights drawn, the frozen one in `dtype`."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(6, 10, **{"kernel_size": 1, **shape}, bias=bias)
    model: Any = nn.Sequential(convolution).requires_grad_(requires_grad=False).to(dtype)
    inject_adapter_in_model(LoraConfig(r=2, lora_alpha=3, target_modules="0"), model)
    for side in (model[0].lora_A, model[0].lora_B):
        side.default.float().requires_grad_(requires_grad=True)
        nn.init.normal_(side.default.weight)
    return model[0]


def found(module: Any, x: Tensor, *, half: bool = False) -> list[Tensor]:
    """Output and gradients of x, down and up, where they are wanted."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_(x.requires_grad)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        output = module(x)
    weights = [w for w in (x, module.lora_A.default.weight, module.lora_B.default.weight) if w.requires_grad]
    towards = torch.linspace(-1, 1, output.numel()).view(output.shape)
    return [output, *torch.autograd.grad((output.float() * towards).sum(), weights)]


def both(module: Any, x: Tensor, bound: float, *, half: bool = False) -> None:
    """PEFT's answers and ours, within a share of their size."""
    theirs = found(module, x, half=half)
    make_lora_lean(module)
    assert type(module) is LeanPointwise
    for ours, wanted in zip(found(module, x, half=half), theirs, strict=True):
        assert ours.dtype == wanted.dtype
        assert ours.shape == wanted.shape
        assert (ours.float() - wanted.float()).norm() <= bound * wanted.float().norm()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_is_pefts_answer(batch: int, bias: bool, layout: torch.memory_format) -> None:
    x = torch.randn(batch, 6, 4, 7, generator=torch.Generator().manual_seed(1))
    both(layer(bias=bias), x.contiguous(memory_format=layout).requires_grad_(), 1e-5)


@pytest.mark.parametrize("frozen", ["x", "lora_A", "lora_B"])
def test_what_does_not_learn_gets_no_gradient(frozen: str) -> None:
    module = layer()
    if frozen != "x":
        getattr(module, frozen).default.requires_grad_(requires_grad=False)
    both(module, torch.randn(1, 6, 3, 3).requires_grad_(frozen != "x"), 1e-5)


@pytest.mark.parametrize("own", [torch.bfloat16, torch.float32])
def test_in_half_precision_too(own: torch.dtype) -> None:
    """The frozen weight in bfloat16, the LoRA in float32, x in either."""
    both(layer(dtype=torch.bfloat16), torch.randn(2, 6, 3, 3).to(own).requires_grad_(), 1e-2, half=True)


def test_switched_off_it_is_the_layer_below() -> None:
    module, x = layer(), torch.randn(1, 6, 3, 3)
    make_lora_lean(module)
    module.enable_adapters(False)
    assert torch.equal(module(x), module.base_layer(x))


@pytest.mark.parametrize("shape", [{"kernel_size": 3, "padding": 1}, {"stride": 2}, {"padding": 1}])
def test_other_convolutions_stay_pefts(shape: dict[str, Any]) -> None:
    module = layer(**shape)
    make_lora_lean(module)
    assert type(module) is lora.Conv2d
