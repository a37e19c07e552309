"""The lean modules put into a model, once."""

from __future__ import annotations

from diffusers.models.activations import GEGLU
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from trainer.models.lean.activations import LeanGEGLU, LeanResnetBlock, can_be_lean
from trainer.models.lean.convolution import FrozenConv2d, can_be_frozen

LARGE_WEIGHT = 1 << 16
"""Numbers in a weight from which on it is worth it: below, the call takes longer than the computing."""


def make_lean(model: nn.Module) -> None:
    """Have a denoiser's own modules compute leanly, weights and names as they are."""
    for module in model.modules():
        # Another class for the same object: LoRA layers, hooks and names stay on it.
        if type(module) is nn.Conv2d and _is_large(module) and can_be_frozen(module):
            module.__class__ = FrozenConv2d
        elif type(module) is ResnetBlock2D and _is_large(module.conv1) and can_be_lean(module):
            module.__class__ = LeanResnetBlock
        elif type(module) is GEGLU and _is_large(module.proj):
            module.__class__ = LeanGEGLU


def keep_activations(model: nn.Module) -> None:
    """Undo what makes activations anew: under gradient checkpointing whole blocks are."""
    for module in model.modules():
        if type(module) is LeanResnetBlock:
            module.__class__ = ResnetBlock2D
        elif type(module) is LeanGEGLU:
            module.__class__ = GEGLU


def _is_large(layer: nn.Conv2d | nn.Linear) -> bool:
    if isinstance(layer, nn.Linear):
        return layer.in_features * layer.out_features >= LARGE_WEIGHT
    height, width = layer.kernel_size
    return layer.in_channels * layer.out_channels * height * width >= LARGE_WEIGHT
