"""A layer of PEFT's asked twice: as it is, and made lean."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from trainer.network.lean_lora import make_lora_lean


def with_lora(layer: nn.Module, dtype: torch.dtype, **config: Any) -> Any:
    """PEFT's layer of rank 2 around a frozen one in `dtype`; the LoRA's weights are drawn, in float32."""
    model: Any = nn.Sequential(layer).requires_grad_(requires_grad=False).to(dtype)
    inject_adapter_in_model(LoraConfig(r=2, target_modules="0", **config), model)
    for side in (model[0].lora_A, model[0].lora_B):
        side.default.float().requires_grad_(requires_grad=True)
        nn.init.normal_(side.default.weight)
    return model[0]


def answers(module: Any, x: Tensor, *, half: bool = False) -> list[Tensor]:
    """Output and gradients of x, down and up, where they are wanted."""
    x = x.clone().requires_grad_(x.requires_grad)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        output = module(x)
    weights = [w for w in (x, module.lora_A.default.weight, module.lora_B.default.weight) if w.requires_grad]
    towards = torch.linspace(-1, 1, output.numel()).view(output.shape)
    return [output, *torch.autograd.grad((output.float() * towards).sum(), weights)]


def lean_is_pefts(kind: type, module: Any, x: Tensor, bound: float, *, half: bool = False) -> None:
    """PEFT's answers are those of the lean layer, which is of this kind, within a share of their size."""
    theirs = answers(module, x, half=half)
    make_lora_lean(module)
    assert type(module) is kind
    for ours, wanted in zip(answers(module, x, half=half), theirs, strict=True):
        assert ours.dtype == wanted.dtype
        assert ours.shape == wanted.shape
        assert (ours.float() - wanted.float()).norm() <= bound * wanted.float().norm()
