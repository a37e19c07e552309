"""One operation for a 1x1 convolution and its LoRA: outputs and gradients are PEFT's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft.tuners import lora
from torch import nn

from tests.trainer.network.pefts_answers import lean_is_pefts, with_lora
from trainer.network.lean_lora import make_lora_lean
from trainer.network.lean_pointwise import LeanPointwise


def layer(*, bias: bool = True, dtype: torch.dtype = torch.float32, **shape: Any) -> Any:
    """PEFT's layer (6 → 10 channels, rank 2), its weights drawn, the frozen one in `dtype`."""
    torch.manual_seed(0)
    return with_lora(nn.Conv2d(6, 10, **{"kernel_size": 1, **shape}, bias=bias), dtype, lora_alpha=3)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_is_pefts_answer(batch: int, bias: bool, layout: torch.memory_format) -> None:
    x = torch.randn(batch, 6, 4, 7, generator=torch.Generator().manual_seed(1))
    lean_is_pefts(LeanPointwise, layer(bias=bias), x.contiguous(memory_format=layout).requires_grad_(), 1e-5)


@pytest.mark.parametrize("frozen", ["x", "lora_A", "lora_B"])
def test_what_does_not_learn_gets_no_gradient(frozen: str) -> None:
    module = layer()
    if frozen != "x":
        getattr(module, frozen).default.requires_grad_(requires_grad=False)
    lean_is_pefts(LeanPointwise, module, torch.randn(1, 6, 3, 3).requires_grad_(frozen != "x"), 1e-5)


@pytest.mark.parametrize("own", [torch.bfloat16, torch.float32])
def test_in_half_precision_too(own: torch.dtype) -> None:
    """The frozen weight in bfloat16, the LoRA in float32, x in either."""
    x = torch.randn(2, 6, 3, 3).to(own).requires_grad_()
    lean_is_pefts(LeanPointwise, layer(dtype=torch.bfloat16), x, 1e-2, half=True)


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
