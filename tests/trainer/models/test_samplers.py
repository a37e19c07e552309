"""A model trained down to pure noise is sampled from there: pictures are as dark and bright as learned."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.models.samplers import ASK_TWICE, SAMPLERS
from trainer.models.schedule import Ddpm
from trainer.settings import Noise, SamplerName

SPREAD = 32.0
"""Deviation of the means of dark and bright pictures of 32 x 32, of which noise's means have 1."""
ONCE = [name for name, (kind, _) in SAMPLERS.items() if kind not in ASK_TWICE]
LEARNED = Ddpm("v_prediction", Noise(zero_terminal_snr=True))


def velocity(noisy: Tensor, timestep: Tensor) -> Tensor:
    """What a perfect model of such pictures answers to their noisy means, (B, 1, 1, 1)."""
    known = LEARNED.alphas_cumprod.double().numpy()
    share = torch.tensor(np.interp(float(timestep), range(len(known)), known))
    guess = SPREAD**2 * share.sqrt() * noisy / (SPREAD**2 * share + 1 - share)
    noise = (noisy - share.sqrt() * guess) / (1 - share).sqrt()
    return share.sqrt() * noise - (1 - share).sqrt() * guess


def spread(schedule: Ddpm, name: str, steps: int = 100) -> float:
    """The deviation of the means of pictures drawn on this schedule, as a share of what it should be."""
    sampler = schedule.sampler(name)
    sampler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(0)
    options = {"generator": generator} if name.endswith("_a") else {}
    means = torch.randn(4000, 1, 1, 1, generator=generator, dtype=torch.float64) * sampler.init_noise_sigma
    for timestep in sampler.timesteps:
        answer = velocity(sampler.scale_model_input(means, timestep), timestep)
        means = sampler.step(answer, timestep, means, **options, return_dict=False)[0]
    return float(means.std()) / SPREAD


@pytest.mark.parametrize("name", ONCE)
def test_pictures_are_as_dark_and_as_bright_as_those_learned_from(name: str):
    assert spread(LEARNED, name) == pytest.approx(1, abs=0.08)


def test_on_the_schedule_before_all_pictures_are_of_medium_brightness():
    assert spread(Ddpm("v_prediction"), "ddim") < 0.85


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_sampling_begins_at_the_last_timestep_and_stays_in_bounds(name: str):
    sampler = LEARNED.sampler(name)
    sampler.set_timesteps(8)
    assert float(sampler.timesteps[0]) == 999
    assert float(sampler.alphas_cumprod[-1]) < 2e-3
    assert 0.3 < spread(LEARNED, name, 8) < 1.7


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_models_that_answer_noise_are_sampled_as_ever(name: str):
    rescaled = Ddpm("epsilon", Noise(zero_terminal_snr=True)).sampler(name)
    assert rescaled.config == Ddpm("epsilon").sampler(name).config
