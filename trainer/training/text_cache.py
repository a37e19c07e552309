"""What the denoiser is told of each caption, made once where that is possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from trainer.models.base import BaseModel, Conditioning


@dataclass
class CaptionEncoder:
    """Captions -> Conditioning on the training device.

    While the text encoder learns, every call encodes anew. While it does not, each caption is encoded once
    and remembered (on the CPU).
    """

    model: BaseModel
    device: torch.device
    pad: bool = True
    """False: "No token padding"."""
    learning: bool = True
    """Whether the text encoder is being trained."""
    remembered: dict[str, Conditioning] = field(default_factory=dict)

    def __call__(self, captions: Sequence[str]) -> Conditioning:
        """What is told of these captions; with gradients while the text encoder learns."""
        if self.learning or not self.pad:
            with torch.set_grad_enabled(self.learning):
                return self.encode(captions)
        for caption in dict.fromkeys(captions):
            if caption not in self.remembered:
                with torch.no_grad():
                    self.remembered[caption] = self.encode([caption]).to(torch.device("cpu"))
        return Conditioning.joined([self.remembered[caption] for caption in captions]).to(self.device)

    def encode(self, captions: Sequence[str]) -> Conditioning:
        """Encode now, as the model stands."""
        return self.model.encode_text(captions)
