"""The layers of a plain LoRA that are one operation with the layer below them."""

from __future__ import annotations

from typing import cast

from peft.tuners import lora
from torch import nn

from trainer.models.lean.convolution import FrozenConv2d, is_pointwise
from trainer.network.lean_linear import LeanLinear
from trainer.network.lean_pointwise import LeanPointwise


def make_lora_lean(layer: object) -> None:
    """Let one of PEFT's layers compute leanly. It must have one adapter, without dropouts."""
    # Of exactly these classes: the weight of an 8-bit layer is made anew at each call.
    if type(layer) is lora.Linear and type(layer.base_layer) is nn.Linear:
        layer.__class__ = LeanLinear
    elif type(layer) is lora.Conv2d and _is_pointwise(layer.base_layer):
        layer.__class__ = LeanPointwise


def _is_pointwise(layer: nn.Module) -> bool:
    return type(layer) in {nn.Conv2d, FrozenConv2d} and is_pointwise(cast("nn.Conv2d", layer))
