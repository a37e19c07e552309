"""Stable Diffusion's noise schedule: how noise is added, what is to be answered, what each answer counts."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from trainer import settings as schema
from trainer.models.samplers import build_sampler

Prediction = Literal["epsilon", "v_prediction"]
STEPS = 1000
SNR_LIMIT = 1000.0
"""Keeps the weights finite at the first timesteps."""


class Ddpm:
    """A diffusion of 1000 steps (arXiv 2006.11239) whose model answers noise or velocity (2202.00512)."""

    def __init__(
        self, prediction: Prediction, noise: schema.Noise | None = None, loss: schema.Loss | None = None
    ) -> None:
        self.prediction: Prediction = prediction
        self.noise, self.loss = noise or schema.Noise(), loss or schema.Loss()
        self.scheduler = build_noise_scheduler(prediction, zero_terminal_snr=self.noise.zero_terminal_snr)
        self._weights = timestep_weights(self.scheduler, prediction, self.loss)

    @property
    def alphas_cumprod(self) -> Tensor:
        """Share of the picture's variance that is left at each timestep, (1000,)."""
        return self.scheduler.alphas_cumprod

    def draw(self, latents: Tensor) -> Tensor:
        """See NoiseSchedule: whole numbers from "Min Timestep" up to, not including, "Max Timestep"."""
        return draw_timesteps(len(latents), self.noise.min_timestep, self.noise.max_timestep)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """See NoiseSchedule."""
        # diffusers' own: √ᾱ·x + √(1-ᾱ)·ε in the reference's order of operations.
        return self.scheduler.add_noise(latents, noise, timesteps)  # pyright: ignore[reportArgumentType]  # a tensor is meant

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """See NoiseSchedule: the noise, or the velocity (arXiv 2202.00512, appendix D)."""
        if self.prediction == "v_prediction":
            return self.scheduler.get_velocity(latents, noise, timesteps)  # pyright: ignore[reportArgumentType]  # a tensor is meant
        return noise

    def weights(self, timesteps: Tensor) -> Tensor:
        """See NoiseSchedule. The table moves to the timesteps' device once."""
        # Kept there: looked up at every batch, a card would wait for a copy each time.
        self._weights = self._weights.to(timesteps.device)
        return self._weights[timesteps]

    def huber_threshold(self, timesteps: Tensor) -> Tensor:
        """See NoiseSchedule."""
        loss = self.loss
        return huber_threshold(
            timesteps, self.alphas_cumprod, loss.huber_schedule, loss.huber_c, loss.huber_scale
        )

    def sampler(self, name: str) -> Any:
        """See NoiseSchedule."""
        return build_sampler(name, self.scheduler)


def build_noise_scheduler(prediction_type: Prediction, *, zero_terminal_snr: bool = False) -> DDPMScheduler:
    """Stable Diffusion's noise schedule. "Zero terminal SNR": arXiv 2305.08891, algorithm 1."""
    return DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=STEPS,
        clip_sample=False,
        prediction_type=prediction_type,
        rescale_betas_zero_snr=zero_terminal_snr,
    )


def draw_timesteps(count: int, min_timestep: int = 0, max_timestep: int = STEPS) -> Tensor:
    """How noisy each picture gets: (count,) whole numbers from min up to, not including, max; on the CPU."""
    if min_timestep < max_timestep:
        return torch.randint(min_timestep, max_timestep, (count,))
    # Equal ends mean one timestep; the last one that there is, if beyond.
    return torch.full((count,), min(max_timestep, STEPS - 1))


def signal_to_noise(noise_scheduler: DDPMScheduler) -> Tensor:
    """SNR of every timestep, (1000,).

    Of the schedule before "Zero terminal SNR": weights divide by it, and at that schedule's end it is 0.
    """
    config = noise_scheduler.config
    steps = config["num_train_timesteps"]
    # Computed anew from the ends: the scheduler's own are rescaled already.
    betas = torch.linspace(config["beta_start"] ** 0.5, config["beta_end"] ** 0.5, steps) ** 2
    alphas_cumprod = torch.cumprod(1.0 - betas, dim=0)
    return (alphas_cumprod.sqrt() / (1.0 - alphas_cumprod).sqrt()) ** 2


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
        # Falls from 1 at the first timestep to huber_c at the last.
        rate = -math.log(huber_c) / len(alphas_cumprod)
        return torch.exp(-rate * timesteps) * huber_scale
    picked = alphas_cumprod.to(timesteps.device)[timesteps]
    # Noise beside picture: 0 at the beginning, so the threshold is 1 there.
    sigmas = ((1.0 - picked) / picked) ** 0.5
    return (1 - huber_c) / (1 + sigmas) ** 2 + huber_c


def min_snr_weight(snr: Tensor, gamma: float, *, v_prediction: bool) -> Tensor:
    """ "Min SNR gamma" (arXiv 2303.09556): easy, little noisy pictures count less; (1000,)."""
    return snr.clamp(max=gamma) / (snr + 1 if v_prediction else snr)


def debiased_weight(snr: Tensor, *, v_prediction: bool) -> Tensor:
    """ "Debiased Estimation loss" (arXiv 2310.08442); (1000,)."""
    snr = snr.clamp(max=SNR_LIMIT)
    return 1 / (snr + 1) if v_prediction else 1 / snr.sqrt()


def velocity_scale(snr: Tensor) -> Tensor:
    """A velocity loss times this weighs the timesteps as a noise loss does; (1000,)."""
    snr = snr.clamp(max=SNR_LIMIT)
    return snr / (snr + 1)


def timestep_weights(noise_scheduler: DDPMScheduler, prediction: Prediction, loss: schema.Loss) -> Tensor:
    """What the loss of a picture is multiplied by at each timestep, (1000,)."""
    v_prediction = prediction == "v_prediction"
    snr = signal_to_noise(noise_scheduler)
    # Factors are multiplied in the reference's order; each is 1 where its setting is off.
    weights = torch.ones_like(snr)
    if loss.min_snr_gamma:
        weights = weights * min_snr_weight(snr, loss.min_snr_gamma, v_prediction=v_prediction)
    if loss.scale_v_pred_loss_like_noise_pred and v_prediction:
        weights = weights * velocity_scale(snr)
    if loss.v_pred_like_loss:
        weights = weights * (1 + loss.v_pred_like_loss / velocity_scale(snr))
    if loss.debiased_estimation_loss:
        weights = weights * debiased_weight(snr, v_prediction=v_prediction)
    return weights
