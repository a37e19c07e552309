"""Stable Diffusion 1.x and 2.x: one text encoder, and the UNet is told nothing but the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from transformers import CLIPTokenizer
from typing_extensions import Self

from trainer import settings as schema
from trainer.errors import UserError
from trainer.families.family import Family
from trainer.families.table import named_by
from trainer.messages import Message
from trainer.models.base import Conditioning, Framing, Size
from trainer.models.clip import Tokens, encode_text, tokenize
from trainer.models.opening import ModelSource, Opening
from trainer.models.parts import ModelParts, weights_fingerprint, weights_hash
from trainer.models.schedule import Ddpm, Prediction
from trainer.models.sd_files import load_tokenizer, prediction_notices, readers_of


@dataclass
class StableDiffusion(ModelParts):
    """See BaseModel."""

    family: Family
    schedule: Ddpm
    tokenizers: Sequence[CLIPTokenizer]
    captions: schema.Captions
    """How captions are read: "Clip skip", "Max Token Length", …"""
    source: str = ""
    vae_source: str = ""
    notices: tuple[Message, ...] = ()

    @classmethod
    def opened(cls, source: ModelSource, opening: Opening) -> Self:
        """See Opener."""
        model, family = opening.model, named_by(opening.model)
        prediction: Prediction = "v_prediction" if model.v_parameterization else "epsilon"
        return cls(
            readers_of(source, opening, family),
            family=family,
            schedule=Ddpm(prediction, opening.noise, opening.loss),
            tokenizers=[load_tokenizer(text) for text in family.text_encoders],
            captions=opening.captions,
            source=source.name,
            vae_source=model.vae,
            notices=prediction_notices(source.path, v_parameterization=model.v_parameterization),
            device=opening.device,
        )

    @property
    def dtype(self) -> torch.dtype:
        """See BaseModel."""
        # Asked every step: diffusers' own answer goes through all modules first.
        return next(self.denoiser.parameters()).dtype

    def latent_shape(self, bucket: Size) -> tuple[int, int, int]:
        """See BaseModel."""
        space, (width, height) = self.family.latents, bucket
        return space.channels, height // space.factor, width // space.factor

    def latent_space(self) -> str:
        """See BaseModel."""
        return f"{self.family.latents.key} {weights_fingerprint(self.vae)}"

    def text_space(self) -> str:
        """See BaseModel."""
        reading = self.captions
        read = reading.max_token_length, reading.weighted_captions, reading.clip_skip
        return f"{self.family.key} {weights_hash(*self.text_encoders)} {read}"

    def text_bytes(self, dtype: torch.dtype) -> int:
        """See BaseModel."""
        length = self.captions.max_token_length
        return (length + 2) * self.family.context * dtype.itemsize

    def encode_text(self, captions: Sequence[str]) -> Conditioning:
        """See BaseModel: (B, 77, D), or (B, 75·n + 2, D) for n chunks.

        float32, so that in training with half the digits the sum of all cross attentions' gradients keeps
        its digits on the way into the text encoder.
        """
        # One of each: a second one would be SDXL's.
        [encoder], [tokens] = self.text_encoders, self.tokens(captions)
        return Conditioning(encode_text(encoder, tokens.to(encoder.device), self.captions.clip_skip).float())

    def tokens(self, captions: Sequence[str]) -> list[Tokens]:
        """Captions as each text encoder reads them: ids (B, n, 77)."""
        reading = self.captions
        return [
            tokenize(
                tokenizer,
                captions,
                reading.max_token_length,
                weighted=reading.weighted_captions,
                pad=not reading.no_token_padding,
            )
            for tokenizer in self.tokenizers
        ]

    @torch.no_grad()
    def encode_latents(self, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        """See BaseModel."""
        posterior = self.vae.encode(pixels.to(self.vae.device, self.vae.dtype)).latent_dist
        if noise is None:
            # From torch's global generator, as the reference while it trains.
            drawn = posterior.sample()
        else:
            # The same sample with noise of our own, for latents that are kept.
            drawn = posterior.mean + posterior.std * noise.to(posterior.mean)
        # contiguous: noise like them is drawn in the order in which they lie in memory
        latents = (drawn.float() * self.family.latents.scale).contiguous()
        if not torch.isfinite(latents).all():  # SDXL's VAE in float16
            raise UserError("latents.not_finite", "sdxl_no_half_vae")
        return latents

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """See BaseModel."""
        latents = latents.to(self.vae.device, self.vae.dtype)
        return self.vae.decode(latents / self.family.latents.scale, return_dict=False)[0]

    def predict(
        self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, framing: Framing
    ) -> Tensor:
        """See BaseModel; nothing is told of the framing."""
        del framing
        # Latents are float32; without autocast a half-precision UNet takes only its own format.
        return self.denoiser(noisy.to(self.dtype), timesteps, conditioning.embeds).sample

    def prompt(self, prompt: Conditioning, negative: Conditioning) -> dict[str, Any]:
        """See BaseModel."""
        return {"prompt_embeds": prompt.embeds, "negative_prompt_embeds": negative.embeds}

    def pipeline(self) -> Any:
        """See BaseModel."""
        nothing: Any = None  # diffusers allows it for all of these
        return StableDiffusionPipeline(
            vae=nothing,
            text_encoder=nothing,
            tokenizer=nothing,
            unet=self.denoiser,
            scheduler=self.schedule.sampler("ddim"),
            safety_checker=nothing,
            feature_extractor=nothing,
            requires_safety_checker=False,
        )
