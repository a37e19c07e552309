"""What the UNet is told about each picture: captions as text embeddings, made once where that is possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from trainer.models.clip import encode_text, tokenize
from trainer.models.load import LoadedModel


@dataclass
class CaptionEncoder:
    """Captions -> text embeddings (B, T, D) on the training device, float32.

    All of the UNet's cross attentions read them; float32, so that in training with half the digits the sum of
    all their gradients keeps its digits on the way into the text encoder.

    While the text encoder learns, every call encodes anew. While it does not, each caption is encoded once
    and remembered (on the CPU).
    """

    model: LoadedModel
    device: torch.device
    clip_skip: int = 1
    max_token_length: int = 75
    weighted: bool = False
    """"Weighted captions"."""
    pad: bool = True
    """False: "No token padding"."""
    learning: bool = True
    """Whether the text encoder is being trained."""
    remembered: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Text embeddings for training; with gradients while the text encoder learns."""
        if self.learning or not self.pad:
            with torch.set_grad_enabled(self.learning):
                return self.encode(captions)
        for caption in dict.fromkeys(captions):
            if caption not in self.remembered:
                with torch.no_grad():
                    self.remembered[caption] = self.encode([caption])[0].cpu()
        return torch.stack([self.remembered[caption] for caption in captions]).to(self.device)

    def encode(self, captions: Sequence[str]) -> Tensor:
        """Encode now, as the model stands."""
        tokens = tokenize(
            self.model.tokenizers[0], captions, self.max_token_length, weighted=self.weighted, pad=self.pad
        )
        text_encoder: Any = self.model.text_encoders[0]  # SDXL's second one is of another class
        return encode_text(text_encoder, tokens.to(self.device), self.clip_skip).float()
