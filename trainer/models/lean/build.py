"""The lean modules put into a model, once."""

from __future__ import annotations

from math import prod
from typing import Any, cast

from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from trainer.models.lean.activations import LeanFeedForward, LeanResnetBlock, can_be_lean
from trainer.models.lean.attention import LeanAttention, can_attend_leanly, knows_weights
from trainer.models.lean.convolution import FrozenConv2d, can_be_frozen

LARGE_WEIGHT = 1 << 16
"""Numbers in a weight from which on it is worth it: below, the call takes longer than the computing."""


def make_lean(model: nn.Module) -> None:
    """Have a denoiser's own modules compute leanly, weights and names as they are."""
    knows_weights()  # now: gradient checkpointing would take the trial's operations for the model's own
    for module in model.modules():
        # Another class for the same object: LoRA layers, hooks and names stay on it.
        if type(module) is nn.Conv2d and _is_large(module) and can_be_frozen(module):
            module.__class__ = FrozenConv2d
        elif type(module) is ResnetBlock2D and _is_large(module.conv1) and can_be_lean(module):
            module.__class__ = LeanResnetBlock
        elif type(module) is FeedForward and can_be_lean(module) and _is_large(module.net[0].proj):
            module.__class__ = LeanFeedForward
        elif isinstance(module, Attention) and can_attend_leanly(module):
            module.processor = cast("Any", LeanAttention())


def keep_activations(model: nn.Module) -> None:
    """Undo what makes activations anew: under gradient checkpointing whole blocks are."""
    plain: dict[type, Any] = {LeanResnetBlock: ResnetBlock2D, LeanFeedForward: FeedForward}
    for module in model.modules():
        module.__class__ = plain.get(type(module), type(module))


def _is_large(layer: Any) -> bool:
    """Of a Linear or Conv2d, by its sizes: the weight of an 8-bit layer would have to be made."""
    if isinstance(layer, nn.Linear):
        return layer.in_features * layer.out_features >= LARGE_WEIGHT
    return layer.in_channels * layer.out_channels * prod(layer.kernel_size) >= LARGE_WEIGHT
