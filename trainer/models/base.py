"""What the trainer asks of a base model, whatever its family: the seam.

The training loop, the caches, the samples and *Try it* know no more of a model than what stands here.

Shapes: B pictures, T tokens, D width of the text embeddings, P of the pooled vector, C latent channels;
pictures are H × W pixels, their latents h × w.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trainer.data.buckets import Size
from trainer.families.family import Family
from trainer.messages import Message


@dataclass(frozen=True)
class Conditioning:
    """What a denoiser is told of captions."""

    embeds: Tensor
    """(B, T, D), float32."""
    pooled: Tensor | None = None
    """(B, P), float32: one vector for the whole caption, in families that have it."""

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Conditioning:
        """The same on a device, in another number format where one is given."""
        pooled = None if self.pooled is None else self.pooled.to(device, dtype)
        return Conditioning(self.embeds.to(device, dtype), pooled)

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return self.embeds.nbytes + (0 if self.pooled is None else self.pooled.nbytes)

    def of(self, index: int) -> Conditioning:
        """What is told of one caption, (1, …)."""
        one = slice(index, index + 1)
        return Conditioning(self.embeds[one], None if self.pooled is None else self.pooled[one])

    @classmethod
    def joined(cls, several: Sequence[Conditioning]) -> Conditioning:
        """Captions encoded apart as one batch."""
        pooled = [one.pooled for one in several if one.pooled is not None]
        return cls(torch.cat([one.embeds for one in several]), torch.cat(pooled) if pooled else None)


@dataclass(frozen=True)
class Framing:
    """How each picture of a batch was cut: some families are told, the others do not ask."""

    original: Sequence[Size]
    """Sizes of the pictures themselves."""
    corner: Sequence[Size]
    """Left and top of the crop."""
    target: Size
    """The bucket."""


class NoiseSchedule(Protocol):
    """How noise is added, what is to be answered, and how much each answer counts: a diffusion or a flow.

    Timesteps (B,) may be whole numbers or not; only the schedule and the model's `predict` read them.
    """

    def draw(self, latents: Tensor) -> Tensor:
        """How noisy each of these latents (B, C, h, w) gets: timesteps (B,), on the CPU."""
        ...

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noisy latents (B, C, h, w)."""
        ...

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the denoiser should answer, (B, C, h, w): noise, velocity or flow."""
        ...

    def weights(self, timesteps: Tensor) -> Tensor:
        """What each picture's loss is multiplied by, (B,)."""
        ...

    def huber_threshold(self, timesteps: Tensor) -> Tensor:
        """Where the Huber losses turn from a square into a line, (B,)."""
        ...

    def sampler(self, name: str) -> Any:
        """The diffusers scheduler for a name of "Sample sampler"."""
        ...


class BaseModel(Protocol):
    """A base model. Its parts are read when they are first used, and can be let go again."""

    @property
    def family(self) -> Family:
        """Which family it is of."""
        ...

    @property
    def schedule(self) -> NoiseSchedule:
        """How it is noised."""
        ...

    @property
    def source(self) -> str:
        """The path or hub id it came from."""
        ...

    @property
    def vae_source(self) -> str:
        """Where the VAE came from; blank: from there too."""
        ...

    @property
    def notices(self) -> tuple[Message, ...]:
        """What to say of it."""
        ...

    @property
    def denoiser(self) -> nn.Module:
        """The part that learns what noise to remove."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Number format that the denoiser computes in."""
        ...

    @property
    def text_encoders(self) -> Sequence[nn.Module]:
        """The parts that read captions."""
        ...

    @property
    def vae(self) -> nn.Module:
        """The part between pictures and latents."""
        ...

    def holds(self, part: str) -> bool:
        """Whether "text_encoders", "vae" or "denoiser" is in memory."""
        ...

    def free(self, *parts: str) -> None:
        """Let go of "text_encoders", "vae" or "denoiser"."""
        ...

    def latent_shape(self, bucket: Size) -> tuple[int, int, int]:
        """(C, h, w) of a picture of this size."""
        ...

    def latent_space(self) -> str:
        """Names the latents: those of two models with the same name are the same."""
        ...

    def text_space(self) -> str:
        """Names the text encoders and how they read: two models of the same name are told the same."""
        ...

    def text_bytes(self, dtype: torch.dtype) -> int:
        """What `encode_text` makes of one caption takes so much in this format."""
        ...

    def encode_text(self, captions: Sequence[str]) -> Conditioning:
        """Captions as the denoiser reads them; with gradients where a text encoder learns."""
        ...

    def encode_latents(self, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        """Latents (B, C, h, w), float32, of pictures (B, 3, H, W) in -1 … 1, as the denoiser reads them.

        `noise` (B, C, h, w) picks the sample of the VAE's distribution; without it torch's global generator
        does. Raises UserError where the VAE's answer is no number.
        """
        ...

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Pictures (B, 3, H, W), about -1 … 1, of latents (B, C, h, w)."""
        ...

    def predict(
        self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, framing: Framing
    ) -> Tensor:
        """The denoiser's answer (B, C, h, w) for noisy latents of that shape."""
        ...

    def prompt(self, prompt: Conditioning, negative: Conditioning) -> dict[str, Any]:
        """A prompt as this family's diffusers pipeline takes it."""
        ...

    def pipeline(self) -> Any:
        """diffusers' pipeline around the denoiser (nothing is copied), for latents; it has no other part."""
        ...
