"""One operation for a layer and its LoRA: outputs and gradients are PEFT's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from tests.trainer.network.pefts_answers import lean_is_pefts, with_lora
from trainer.network.lean_linear import LeanLinear
from trainer.network.lean_lora import make_lora_lean


def layer(*, bias: bool = True, alpha: float = 3.0, dtype: torch.dtype = torch.float32, **config: Any) -> Any:
    """PEFT's layer (6 → 10, rank 2), its weights drawn, the frozen one in `dtype`."""
    torch.manual_seed(0)
    return with_lora(nn.Linear(6, 10, bias=bias), dtype, lora_alpha=alpha, **config)


@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 7, 6), (1, 2, 3, 6)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_pefts_answer(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(1)
    lean_is_pefts(LeanLinear, layer(bias=bias), torch.randn(shape).requires_grad_(), 1e-6)


@pytest.mark.parametrize("frozen", ["x", "lora_A", "lora_B"])
def test_what_does_not_learn_gets_no_gradient(frozen: str) -> None:
    module = layer()
    if frozen != "x":
        getattr(module, frozen).default.requires_grad_(requires_grad=False)
    lean_is_pefts(LeanLinear, module, torch.randn(3, 6).requires_grad_(frozen != "x"), 1e-6)


@pytest.mark.parametrize("own", [torch.bfloat16, torch.float32])
def test_in_half_precision_too(own: torch.dtype) -> None:
    """The frozen weight in bfloat16, the LoRA in float32, x in either."""
    x = torch.randn(4, 6).to(own).requires_grad_()
    lean_is_pefts(LeanLinear, layer(dtype=torch.bfloat16), x, 1e-2, half=True)


def test_a_transposed_input_and_gradient_do_as_well() -> None:
    lean_is_pefts(LeanLinear, layer(), torch.randn(6, 3, 2).permute(1, 2, 0).requires_grad_(), 1e-6)


def test_switched_off_and_scaled_it_obeys_as_before() -> None:
    module, x = layer(), torch.randn(3, 6)
    make_lora_lean(module)
    module.enable_adapters(False)
    assert torch.equal(module(x), module.base_layer(x))
    module.enable_adapters(True)
    once = module(x) - module.base_layer(x)
    module.set_scale("default", 2.0)
    assert torch.allclose(module(x) - module.base_layer(x), 2 * once, atol=1e-5)


def test_other_layers_stay_pefts() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3))
    inject_adapter_in_model(LoraConfig(r=2, target_modules="0"), model)
    kind = type(model[0])
    make_lora_lean(model[0])
    assert type(model[0]) is kind
