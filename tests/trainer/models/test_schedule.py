"""Noise schedule and weights of the timesteps, as the reference has them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.references import reference
from trainer.models.schedule import (
    Ddpm,
    build_noise_scheduler,
    debiased_weight,
    draw_timesteps,
    huber_threshold,
    min_snr_weight,
    signal_to_noise,
    velocity_scale,
)
from trainer.settings import Loss, Noise

RECORDED = reference("noise_schedule")
STEPS = torch.tensor(RECORDED["timesteps"])
SCHEDULER = build_noise_scheduler("epsilon")
SNR = signal_to_noise(SCHEDULER)[STEPS]


def close(ours: Tensor, recorded: list[float]) -> bool:
    return ours.tolist() == pytest.approx(recorded, rel=1e-6)


def test_snr_equals_the_reference_also_with_zero_terminal_snr() -> None:
    assert close(SNR, RECORDED["all_snr"])
    zero = build_noise_scheduler("epsilon", zero_terminal_snr=True)
    assert close(signal_to_noise(zero)[STEPS], RECORDED["zero_terminal_all_snr_NOT_recomputed"])


@pytest.mark.parametrize("gamma", [1, 5, 20])
def test_min_snr_weights_equal_the_reference(gamma: int) -> None:
    assert close(min_snr_weight(SNR, gamma, v_prediction=False), RECORDED[f"min_snr_weight_eps_gamma{gamma}"])
    assert close(min_snr_weight(SNR, gamma, v_prediction=True), RECORDED[f"min_snr_weight_v_gamma{gamma}"])


def test_other_weights_equal_the_reference() -> None:
    assert close(velocity_scale(SNR), RECORDED["scale_v_pred_like_noise"])
    assert close(debiased_weight(SNR, v_prediction=False), RECORDED["debiased_eps"])
    assert close(debiased_weight(SNR, v_prediction=True), RECORDED["debiased_v"])
    assert close(1 + 0.5 / velocity_scale(SNR), RECORDED["v_pred_like_loss_0.5"])


@pytest.mark.parametrize("schedule", ["snr", "exponential", "constant"])
def test_huber_thresholds_equal_the_reference(schedule: str) -> None:
    assert close(huber_threshold(STEPS, SCHEDULER.alphas_cumprod, schedule), RECORDED[f"huber_c_{schedule}"])


def test_huber_scale_counts_for_two_schedules() -> None:
    for schedule, factor in (("constant", 2.0), ("exponential", 2.0), ("snr", 1.0)):
        plain = huber_threshold(STEPS, SCHEDULER.alphas_cumprod, schedule)
        scaled = huber_threshold(STEPS, SCHEDULER.alphas_cumprod, schedule, huber_scale=2.0)
        assert torch.allclose(scaled, plain * factor)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, torch.ones_like(SNR)),
        ({"min_snr_gamma": 5.0}, SNR.clamp(max=5) / SNR),
        ({"min_snr_gamma": 5.0, "prediction_type": "v_prediction"}, SNR.clamp(max=5) / (SNR + 1)),
        ({"debiased_estimation_loss": True}, debiased_weight(SNR, v_prediction=False)),
        ({"v_pred_like_loss": 0.5}, 1 + 0.5 / velocity_scale(SNR)),
        ({"scale_v_pred_loss_like_noise_pred": True}, torch.ones_like(SNR)),
        (
            {"scale_v_pred_loss_like_noise_pred": True, "prediction_type": "v_prediction"},
            velocity_scale(SNR),
        ),
        (
            {"min_snr_gamma": 5.0, "v_pred_like_loss": 0.5},
            SNR.clamp(max=5) / SNR * (1 + 0.5 / velocity_scale(SNR)),
        ),
    ],
)
def test_settings_weigh_the_timesteps(settings: dict[str, Any], expected: Tensor) -> None:
    prediction = settings.pop("prediction_type", "epsilon")
    assert torch.allclose(Ddpm(prediction, loss=Loss(**settings)).weights(STEPS), expected)


def test_target_is_the_noise_or_the_velocity() -> None:
    torch.manual_seed(0)
    latents, noise, steps = torch.randn(1, 4, 2, 2), torch.randn(1, 4, 2, 2), torch.tensor([300])
    assert Ddpm("epsilon").target(latents, noise, steps) is noise
    alpha = SCHEDULER.alphas_cumprod[300]
    velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
    assert torch.allclose(Ddpm("v_prediction").target(latents, noise, steps), velocity, atol=1e-6)


def test_timesteps_stay_in_their_range() -> None:
    torch.manual_seed(0)
    steps = draw_timesteps(4000, 100, 110)
    assert set(steps.tolist()) == set(range(100, 110))
    assert draw_timesteps(4000).max() <= 999
    assert draw_timesteps(3, 500, 500).tolist() == [500, 500, 500]
    assert draw_timesteps(1, 1000, 1000).tolist() == [999]


def test_more_noise_at_later_timesteps() -> None:
    latents, noise = torch.ones(2, 4, 8, 8), torch.zeros(2, 4, 8, 8)
    noisy = Ddpm("epsilon").add_noise(latents, noise, torch.tensor([0, 999]))
    assert noisy[0].mean() > 0.99
    assert noisy[1].mean() < 0.1


def test_noise_schedule_equals_the_reference() -> None:
    recorded = reference("noise_schedule")
    steps = torch.tensor(recorded["timesteps"])
    plain = build_noise_scheduler("epsilon").alphas_cumprod[steps]
    zero = build_noise_scheduler("epsilon", zero_terminal_snr=True).alphas_cumprod[steps]
    assert plain.tolist() == recorded["alphas_cumprod"]
    assert zero.tolist() == pytest.approx(recorded["zero_terminal_alphas_cumprod"], rel=1e-6, abs=1e-7)


def test_zero_terminal_snr_leaves_nothing_of_the_picture_at_the_end() -> None:
    schedule = Ddpm("v_prediction", Noise(zero_terminal_snr=True))
    noise = torch.randn(2, 4, 8, 8)
    noisy = schedule.add_noise(torch.ones(2, 4, 8, 8), noise, torch.tensor([999, 999]))
    assert torch.allclose(noisy, noise, atol=1e-6)
