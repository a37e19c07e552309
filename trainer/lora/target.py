"""One module that gets a LoRA: its name in files, its size, its place in the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from trainer.lora.shapes import Shape
from trainer.lora.types import Algorithm

Part = Literal["text_encoder", "unet"]


@dataclass(frozen=True)
class LoraTarget:
    """One module that gets a LoRA."""

    name: str
    """Its key in LoRA files: lora_unet_…, lora_te_…."""
    part: Part
    module_path: str
    dim: int
    alpha: float
    encoder: int = 0
    """Which text encoder (0 but for SDXL's second)."""
    block: int | None = None
    """UNet block, 0-24."""
    as_convolution: bool = False
    """A Linear layer that files hold as a 1x1 convolution (SD2's proj_in and proj_out)."""
    algorithm: Algorithm = "lora"
    shapes: Mapping[str, Shape] | None = field(default=None, compare=False)
    """Names and shapes of its weights where a file prescribes them ("DIM from weights")."""
