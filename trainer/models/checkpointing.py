""" "Gradient checkpointing": what a step keeps for its backward pass, and what it computes anew there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from trainer.models.base import BaseModel
from trainer.models.lean.build import keep_activations

ATTENTION = (
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)
"""torch's operations behind scaled_dot_product_attention, one per kind of device and number format.

Their output is as large as one activation, and nothing else of a block takes as long to compute anew.
"""


def enable_gradient_checkpointing(
    model: BaseModel, *, text_encoders: bool = True, keep_attention: bool = False
) -> None:
    """Recompute activations in the backward pass instead of keeping them: less memory, a fifth slower.

    `text_encoders` False: none of them learns. `keep_attention`: what the denoiser's attention gave is kept
    and not recomputed ("Keep attention's output").
    """
    denoiser: Any = model.denoiser
    keep_activations(denoiser)
    denoiser.enable_gradient_checkpointing(_keeping_attention if keep_attention else None)
    denoiser.train()
    for text_encoder in model.text_encoders if text_encoders else ():
        encoder: Any = text_encoder
        newer = getattr(encoder, "activation_checkpointing_enable", None)  # the other name goes
        (newer or encoder.gradient_checkpointing_enable)({"use_reentrant": False})
        encoder.train()


def _keeping_attention(module: Callable[..., Any], *inputs: Any) -> Any:
    """As diffusers' own checkpointing of a block, but for attention."""
    kept = [getattr(torch.ops.aten, name).default for name in ATTENTION if hasattr(torch.ops.aten, name)]
    contexts = partial(create_selective_checkpoint_contexts, kept)
    return checkpoint(module.__call__, *inputs, use_reentrant=False, context_fn=contexts)
