"""The lean modules put into a model, once."""

from __future__ import annotations

from torch import nn

from trainer.models.lean.convolution import FrozenConv2d, can_be_frozen

LARGE_WEIGHT = 1 << 16
"""Numbers in a weight from which on it is worth it: below, the call takes longer than the computing."""


def make_lean(model: nn.Module) -> None:
    """Have a denoiser's own modules compute leanly, weights and names as they are."""
    for module in model.modules():
        if type(module) is nn.Conv2d and module.weight.numel() >= LARGE_WEIGHT and can_be_frozen(module):
            # Another class for the same object: LoRA layers, hooks and names stay on it.
            module.__class__ = FrozenConv2d
