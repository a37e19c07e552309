"""What it takes to open a base model: where its parts lie, and how the settings want it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch

from trainer import settings as schema
from trainer.models.base import BaseModel
from trainer.models.parts import CPU
from trainer.models.tensor_file import TensorFile
from trainer.plan.memory import KeptBase


@dataclass(frozen=True)
class ModelSource:
    """Where a model's parts lie."""

    name: str
    """As the settings name it: a path or a hub id."""
    path: Path
    file: TensorFile | None = None
    """The one-file checkpoint at `path`; None: `path` is a folder in diffusers' layout."""


@dataclass(frozen=True)
class Opening:
    """How a model is read, asked and noised."""

    model: schema.Model
    captions: schema.Captions = field(default_factory=schema.Captions)
    noise: schema.Noise = field(default_factory=schema.Noise)
    loss: schema.Loss = field(default_factory=schema.Loss)
    dtype: torch.dtype = torch.float32
    """Number format of its parts."""
    small_weights: KeptBase | None = None
    """How the denoiser's weights are kept instead."""
    device: torch.device = CPU
    """Where its parts go when they are read."""


class Opener(Protocol):
    """Opens a model of one family."""

    def __call__(self, source: ModelSource, opening: Opening) -> BaseModel:
        """The model, with no part in memory yet. Raises UserError."""
        ...
