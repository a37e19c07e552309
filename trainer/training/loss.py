"""How a wrong guess is scored: target, distance, and weight of each timestep."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from diffusers import DDPMScheduler
from torch import Tensor

SNR_LIMIT = 1000.0
"""Keeps the weights finite at the first timesteps."""


def target_for(
    noise_scheduler: DDPMScheduler, prediction_type: str, latents: Tensor, noise: Tensor, timesteps: Tensor
) -> Tensor:
    """What the UNet should have said: the noise, or the velocity (arXiv 2202.00512, appendix D)."""
    if prediction_type == "v_prediction":
        return noise_scheduler.get_velocity(latents, noise, timesteps)  # pyright: ignore[reportArgumentType]  # a tensor is meant
    return noise


def signal_to_noise(noise_scheduler: DDPMScheduler) -> Tensor:
    """SNR of every timestep, (1000,).

    Of the schedule before "Zero terminal SNR": weights divide by it, and at that schedule's end it is 0.
    """
    config = noise_scheduler.config
    steps = config["num_train_timesteps"]
    betas = torch.linspace(config["beta_start"] ** 0.5, config["beta_end"] ** 0.5, steps) ** 2
    alphas_cumprod = torch.cumprod(1.0 - betas, dim=0)
    return (alphas_cumprod.sqrt() / (1.0 - alphas_cumprod).sqrt()) ** 2


def distance(
    prediction: Tensor,
    target: Tensor,
    loss_type: str = "l2",
    huber_c: Tensor | None = None,
    masks: Tensor | None = None,
) -> Tensor:
    """Mean distance of each picture of the batch, (B,), in float32.

    `masks` (B, 1, h, w) weigh the places before the mean is taken over all of them ("Masked loss").

    "huber" and "smooth_l1" are pseudo-Huber losses with threshold huber_c (B,): near 0 like l2, far
    away like l1 (arXiv 2403.16728).
    """
    error = prediction.float() - target.float()
    if loss_type == "l2":
        scores = error**2
    elif loss_type == "l1":
        scores = error.abs()
    else:
        if huber_c is None:
            raise ValueError(f"loss_type {loss_type} needs huber_c")
        threshold = huber_c.to(error).view(-1, 1, 1, 1)
        scores = 2 * ((error**2 + threshold**2).sqrt() - threshold)
        scores = scores * threshold if loss_type == "huber" else scores
    if masks is not None:
        scores = scores * masks.to(scores)
    return scores.mean(dim=(1, 2, 3))


def huber_threshold(
    timesteps: Tensor,
    alphas_cumprod: Tensor,
    schedule: str = "snr",
    huber_c: float = 0.1,
    huber_scale: float = 1.0,
) -> Tensor:
    """Threshold of each picture, (B,): falls from about 1 (no noise) to huber_c, or is constant.

    `huber_scale` counts for "exponential" and "constant" only, as in the reference.
    """
    if schedule == "constant":
        return torch.full(timesteps.shape, huber_c * huber_scale, device=timesteps.device)
    if schedule == "exponential":
        rate = -math.log(huber_c) / len(alphas_cumprod)
        return torch.exp(-rate * timesteps) * huber_scale
    picked = alphas_cumprod.to(timesteps.device)[timesteps]
    sigmas = ((1.0 - picked) / picked) ** 0.5
    return (1 - huber_c) / (1 + sigmas) ** 2 + huber_c


def min_snr_weight(snr: Tensor, gamma: float, *, v_prediction: bool) -> Tensor:
    """ "Min SNR gamma" (arXiv 2303.09556): easy, little noisy pictures count less."""
    return snr.clamp(max=gamma) / (snr + 1 if v_prediction else snr)


def debiased_weight(snr: Tensor, *, v_prediction: bool) -> Tensor:
    """ "Debiased Estimation loss" (arXiv 2310.08442)."""
    snr = snr.clamp(max=SNR_LIMIT)
    return 1 / (snr + 1) if v_prediction else 1 / snr.sqrt()


def velocity_scale(snr: Tensor) -> Tensor:
    """A velocity loss times this weighs the timesteps as a noise loss does."""
    snr = snr.clamp(max=SNR_LIMIT)
    return snr / (snr + 1)


def timestep_weights(
    noise_scheduler: DDPMScheduler,
    *,
    prediction_type: str = "epsilon",
    min_snr_gamma: float = 0.0,
    scale_v_pred_loss_like_noise_pred: bool = False,
    v_pred_like_loss: float = 0.0,
    debiased_estimation_loss: bool = False,
) -> Callable[[Tensor], Tensor]:
    """A function from timesteps (B,) to what each picture's loss is multiplied by, (B,)."""
    v_prediction = prediction_type == "v_prediction"
    snr = signal_to_noise(noise_scheduler)
    weights = torch.ones_like(snr)
    if min_snr_gamma:
        weights = weights * min_snr_weight(snr, min_snr_gamma, v_prediction=v_prediction)
    if scale_v_pred_loss_like_noise_pred and v_prediction:
        weights = weights * velocity_scale(snr)
    if v_pred_like_loss:
        weights = weights * (1 + v_pred_like_loss / velocity_scale(snr))
    if debiased_estimation_loss:
        weights = weights * debiased_weight(snr, v_prediction=v_prediction)
    return lambda timesteps: weights.to(timesteps.device)[timesteps]
