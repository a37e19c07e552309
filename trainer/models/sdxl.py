"""SDXL: two text encoders, a pooled vector beside the text, and a UNet that is told how pictures were cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor

from trainer.models.base import Conditioning, Framing
from trainer.models.clip import encode_penultimate
from trainer.models.sd import StableDiffusion


@dataclass
class StableDiffusionXL(StableDiffusion):
    """See BaseModel. Latents, noise and files are read as those of Stable Diffusion."""

    def encode_text(self, captions: Sequence[str]) -> Conditioning:
        """See BaseModel: both encoders' last layer but one side by side, whatever "Clip skip" says.

        (B, 77, D₁ + D₂), or (B, 75·n + 2, …) for n chunks; pooled (B, P) of the second encoder.
        """
        embeds, pooled = [], None
        for encoder, tokens in zip(self.text_encoders, self.tokens(captions), strict=True):
            hidden, pooled = encode_penultimate(encoder, tokens.to(encoder.device))
            # Side by side as the UNet was trained: CLIP's before OpenCLIP's.
            embeds.append(hidden.float())
        return Conditioning(torch.cat(embeds, dim=-1), None if pooled is None else pooled.float())

    def predict(
        self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, framing: Framing
    ) -> Tensor:
        """See BaseModel."""
        added = {"text_embeds": conditioning.pooled, "time_ids": time_ids(framing).to(noisy.device)}
        noisy = noisy.to(self.dtype)
        return self.denoiser(noisy, timesteps, conditioning.embeds, added_cond_kwargs=added).sample

    def prompt(self, prompt: Conditioning, negative: Conditioning) -> dict[str, Any]:
        """See BaseModel."""
        pooled = {
            "pooled_prompt_embeds": prompt.pooled,
            "negative_pooled_prompt_embeds": negative.pooled,
        }
        return super().prompt(prompt, negative) | pooled

    def pipeline(self) -> Any:
        """See BaseModel."""
        nothing: Any = None  # diffusers allows it for all of these
        return StableDiffusionXLPipeline(
            vae=nothing,
            text_encoder=nothing,
            text_encoder_2=nothing,
            tokenizer=nothing,
            tokenizer_2=nothing,
            unet=self.denoiser,
            scheduler=self.schedule.sampler("ddim"),
            add_watermarker=False,
        )


def time_ids(framing: Framing) -> Tensor:
    """(B, 6): height and width of each picture, top and left of its crop, height and width of the bucket."""
    width, height = framing.target
    rows = [
        # Height before width, top before left: Stability AI's order.
        (*original[::-1], *corner[::-1], height, width)
        for original, corner in zip(framing.original, framing.corner, strict=True)
    ]
    # float32: sizes beyond 256 are not exact in bfloat16.
    return torch.tensor(rows, dtype=torch.float32)
