"""The noise the model learns to remove.

All draws come from the global generators of torch and `random`, in the reference trainer's order: noise →
strength of the offset → offset → levels of the pyramid → timesteps (the schedule's) → input perturbation.
"""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer import settings as schema


def draw_noise(latents: Tensor, noise: schema.Noise) -> Tensor:
    """Noise for latents (B, C, h, w), with the tab's "Noise offset" or "Multires" added."""
    kind = noise.noise_offset_type
    # On the latents' device and in their order in memory: the reference's numbers.
    drawn = torch.randn_like(latents)
    if noise.noise_offset and kind != "Multires":
        strength: float | Tensor = noise.noise_offset
        if noise.noise_offset_random_strength:
            # After the noise itself, as in the reference: the order of the draws is part of a seed.
            strength = torch.rand(1, device=latents.device) * noise.noise_offset
        drawn = offset_noise(drawn, latents, strength, noise.adaptive_noise_scale)
    if noise.multires_noise_iterations and kind != "Original":
        # kohya_ss does not hand a 0 on, and sd-scripts takes 0.3 then.
        discount = noise.multires_noise_discount or 0.3
        drawn = pyramid_noise(drawn, noise.multires_noise_iterations, discount)
    return drawn


def offset_noise(noise: Tensor, latents: Tensor, strength: float | Tensor, adaptive_scale: float) -> Tensor:
    """Shift each channel of noise (B, C, h, w) by one random value.

    So the whole picture learns to be dark or bright: https://www.crosslabs.org/blog/diffusion-with-offset-noise.
    `adaptive_scale` makes the shift stronger (or weaker, below 0) where the channel's mean is far from 0.
    """
    if adaptive_scale:
        mean = latents.mean(dim=(2, 3), keepdim=True).abs()
        # Not below 0: a shift the other way round would teach the opposite.
        strength = (strength + adaptive_scale * mean).clamp(min=0.0)
    shift = torch.randn((*latents.shape[:2], 1, 1), device=latents.device, dtype=latents.dtype)
    return noise + strength * shift


def pyramid_noise(noise: Tensor, iterations: int, discount: float) -> Tensor:
    """Add noise of ever coarser resolutions to (B, C, h, w), level i weighing discount**i.

    Scaled back to deviation 1.
    https://wandb.ai/johnowhitaker/multires_noise/reports/Multi-Resolution-Noise-for-Diffusion-Model-Training--VmlldzozNjYyOTU2
    """
    batch, channels, height, width = noise.shape
    total = noise.clone()
    for level in range(iterations):
        # From Python's generator, as in the reference: two to four times coarser at each level.
        shrink = (random.random() * 2 + 2) ** level
        size = (max(1, int(height / shrink)), max(1, int(width / shrink)))
        # On the CPU, as in the reference.
        coarse = torch.randn(batch, channels, *size).to(noise)
        total += F.interpolate(coarse, (height, width), mode="bilinear") * discount**level
        # Coarser than one place there is nothing.
        if 1 in size:
            break
    # Noise of deviation 1 is what the schedule mixes with.
    return total / total.std()


def disturbed(noise: Tensor, settings: schema.Noise) -> Tensor:
    """ "IP noise gamma" (arXiv 2301.11706): the noise that the input gets; the target keeps its own.

    (B, C, h, w), as `noise`, which stays as it is.
    """
    if not settings.ip_noise_gamma:
        return noise
    strength: float | Tensor = settings.ip_noise_gamma
    if settings.ip_noise_gamma_random_strength:
        strength = torch.rand(1, device=noise.device) * settings.ip_noise_gamma
    return noise + strength * torch.randn_like(noise)
