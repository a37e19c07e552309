"""Loss: targets, distances and the weights of timesteps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.references import reference
from trainer.models.load import build_noise_scheduler
from trainer.training.loss import (
    debiased_weight,
    distance,
    huber_threshold,
    min_snr_weight,
    signal_to_noise,
    target_for,
    timestep_weights,
    velocity_scale,
)

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
    assert torch.allclose(timestep_weights(SCHEDULER, **settings)(STEPS), expected)


def test_target_is_the_noise_or_the_velocity() -> None:
    torch.manual_seed(0)
    latents, noise, steps = torch.randn(1, 4, 2, 2), torch.randn(1, 4, 2, 2), torch.tensor([300])
    assert target_for(SCHEDULER, "epsilon", latents, noise, steps) is noise
    alpha = SCHEDULER.alphas_cumprod[300]
    velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
    assert torch.allclose(target_for(SCHEDULER, "v_prediction", latents, noise, steps), velocity, atol=1e-6)


def test_distances_by_hand() -> None:
    prediction, target = torch.full((2, 1, 1, 1), 3.0), torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    c = torch.tensor([1.0, 2.0])
    assert distance(prediction, target).tolist() == [9.0, 4.0]
    assert distance(prediction, target, "l1").tolist() == [3.0, 2.0]
    huber = [2 * 1 * (10**0.5 - 1), 2 * 2 * (8**0.5 - 2)]
    assert distance(prediction, target, "huber", c).tolist() == pytest.approx(huber)
    smooth = [2 * (10**0.5 - 1), 2 * (8**0.5 - 2)]
    assert distance(prediction, target, "smooth_l1", c).tolist() == pytest.approx(smooth)


def test_huber_is_l2_near_zero_and_grows_slower_far_away() -> None:
    zero = torch.zeros(1, 1, 1, 1)
    c = torch.tensor([1.0])
    assert distance(zero + 1e-2, zero, "huber", c).item() == pytest.approx(1e-4, rel=1e-2)
    assert distance(zero + 100, zero, "huber", c).item() == pytest.approx(200, rel=0.02)


def test_loss_is_float32_and_per_picture() -> None:
    prediction = torch.zeros(3, 4, 2, 2, dtype=torch.bfloat16)
    scores = distance(prediction, torch.ones(3, 4, 2, 2))
    assert scores.shape == (3,)
    assert scores.dtype == torch.float32
