"""The noise the model learns to remove, and how much of it.

All draws come from the global generators of torch and `random`, in the reference trainer's order: noise →
strength of the offset → offset → levels of the pyramid → timesteps → input perturbation.
"""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from torch import Tensor


def draw_noise(
    latents: Tensor,
    *,
    noise_offset: float = 0.0,
    noise_offset_random_strength: bool = False,
    adaptive_noise_scale: float = 0.0,
    multires_noise_iterations: int = 0,
    multires_noise_discount: float = 0.3,
) -> Tensor:
    """Noise for latents (B, C, h, w), with the tab's "Noise offset" or "Multires" added."""
    noise = torch.randn_like(latents)
    if noise_offset:
        strength = noise_offset
        if noise_offset_random_strength:
            strength = torch.rand(1, device=latents.device) * noise_offset
        noise = offset_noise(noise, latents, strength, adaptive_noise_scale)
    if multires_noise_iterations:
        noise = pyramid_noise(noise, multires_noise_iterations, multires_noise_discount or 0.3)
    return noise


def offset_noise(noise: Tensor, latents: Tensor, strength: float | Tensor, adaptive_scale: float) -> Tensor:
    """Shift each channel by one random value, so that the whole picture learns to be dark or bright.

    https://www.crosslabs.org/blog/diffusion-with-offset-noise; `adaptive_scale` makes the shift stronger
    (or weaker, below 0) where the channel's mean is far from 0.
    """
    if adaptive_scale:
        mean = latents.mean(dim=(2, 3), keepdim=True).abs()
        strength = (strength + adaptive_scale * mean).clamp(min=0.0)
    shift = torch.randn((*latents.shape[:2], 1, 1), device=latents.device, dtype=latents.dtype)
    return noise + strength * shift


def pyramid_noise(noise: Tensor, iterations: int, discount: float) -> Tensor:
    """Add noise of ever coarser resolutions, level i weighing discount**i; scaled back to deviation 1.

    https://wandb.ai/johnowhitaker/multires_noise/reports/Multi-Resolution-Noise-for-Diffusion-Model-Training--VmlldzozNjYyOTU2
    """
    batch, channels, height, width = noise.shape
    total = noise.clone()
    for level in range(iterations):
        shrink = (random.random() * 2 + 2) ** level
        size = (max(1, int(height / shrink)), max(1, int(width / shrink)))
        coarse = torch.randn(batch, channels, *size).to(noise)
        total += F.interpolate(coarse, (height, width), mode="bilinear") * discount**level
        if 1 in size:
            break
    return total / total.std()


def draw_timesteps(count: int, min_timestep: int = 0, max_timestep: int = 1000) -> Tensor:
    """How noisy each picture gets: (count,) whole numbers from min up to, not including, max; on the CPU."""
    if min_timestep < max_timestep:
        return torch.randint(min_timestep, max_timestep, (count,))
    return torch.full((count,), min(max_timestep, 999))


def add_noise(
    noise_scheduler: DDPMScheduler,
    latents: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    *,
    ip_noise_gamma: float = 0.0,
    ip_noise_gamma_random_strength: bool = False,
) -> Tensor:
    """Noisy latents. `ip_noise_gamma` disturbs the input, not the target (arXiv 2301.11706)."""
    if ip_noise_gamma:
        strength: float | Tensor = ip_noise_gamma
        if ip_noise_gamma_random_strength:
            strength = torch.rand(1, device=latents.device) * ip_noise_gamma
        noise = noise + strength * torch.randn_like(latents)
    return noise_scheduler.add_noise(latents, noise, timesteps)  # pyright: ignore[reportArgumentType]  # a tensor is meant
