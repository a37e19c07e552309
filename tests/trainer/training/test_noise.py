"""Noise: its statistics, its order of draws, and what each setting of the tab adds."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from tests.trainer.references import reference
from trainer.settings import Noise
from trainer.training.noise import disturbed, draw_noise, offset_noise, pyramid_noise

LATENTS = torch.zeros(2, 4, 8, 8)


def seeded(seed: int = 0) -> None:
    torch.manual_seed(seed)
    random.seed(seed)


def plain_noise(latents: Tensor = LATENTS) -> Tensor:
    seeded()
    return torch.randn_like(latents)


@pytest.mark.parametrize("case", reference("pyramid_noise"))
def test_pyramid_noise_equals_the_reference_draw_for_draw(case: dict) -> None:
    seeded(case["seed(torch+random)"])
    noise = pyramid_noise(torch.randn(case["shape"]), case["iterations"], case["discount"])
    assert noise.flatten()[:8].tolist() == case["first8"]
    assert noise.std().item() == pytest.approx(case["std"])
    assert noise.mean().item() == pytest.approx(case["mean"], abs=1e-7)
    assert noise.sum().item() == pytest.approx(case["sum"], abs=1e-4)
    assert torch.rand(1).item() == case["torch_next"]
    assert random.random() == case["py_next"]


def test_without_settings_it_is_plain_noise() -> None:
    expected = plain_noise()
    seeded()
    assert torch.equal(draw_noise(LATENTS, Noise()), expected)


def test_noise_offset_shifts_whole_channels() -> None:
    plain = plain_noise()
    seeded()
    shift = draw_noise(LATENTS, Noise(noise_offset=0.1)) - plain
    assert shift.std(dim=(2, 3)).max() < 1e-6
    assert shift[0, 0, 0, 0] != shift[0, 1, 0, 0]
    torch.manual_seed(1)
    many = draw_noise(torch.zeros(400, 4, 1, 1), Noise(noise_offset=0.5)).std().item()
    assert many == pytest.approx((1 + 0.5**2) ** 0.5, rel=0.06)


def test_random_strength_stays_below_the_offset_and_is_drawn_before_it() -> None:
    seeded()
    noise = draw_noise(LATENTS, Noise(noise_offset=0.2, noise_offset_random_strength=True))
    seeded()
    plain, strength = torch.randn_like(LATENTS), torch.rand(1) * 0.2
    assert torch.equal(noise, plain + strength * torch.randn(2, 4, 1, 1))


def test_adaptive_noise_scale_follows_the_brightness_of_the_latents() -> None:
    latents = torch.full((1, 4, 8, 8), 3.0)
    flat = torch.zeros_like(latents)
    seeded()
    plain = offset_noise(flat, latents, 0.1, 0.0)
    for scale, strength in ((0.1, 0.4), (-0.02, 0.04), (-1.0, 0.0)):
        seeded()
        changed = offset_noise(flat, latents, 0.1, scale)
        assert torch.allclose(changed, plain * strength / 0.1, atol=1e-6), scale


def test_multires_adds_coarse_noise_and_keeps_the_deviation() -> None:
    seeded()
    latents = torch.zeros(1, 4, 64, 64)
    noise = draw_noise(
        latents, Noise(noise_offset_type="Multires", multires_noise_iterations=6, multires_noise_discount=0.8)
    )
    assert noise.std().item() == pytest.approx(1.0, abs=1e-4)
    coarse = torch.nn.functional.avg_pool2d(noise, 16).std().item()
    assert coarse > 3 * torch.nn.functional.avg_pool2d(plain_noise(latents), 16).std().item()


def test_multires_discount_0_means_the_guides_0_3() -> None:
    drawn = []
    for discount in (0.0, 0.3, 0.8):
        seeded()
        chosen = Noise(
            noise_offset_type="Multires", multires_noise_iterations=3, multires_noise_discount=discount
        )
        drawn.append(draw_noise(LATENTS, chosen))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])


def test_noise_offset_type_both_adds_the_offset_and_then_the_pyramid() -> None:
    chosen = Noise(
        noise_offset_type="Both",
        noise_offset=0.2,
        multires_noise_iterations=3,
        multires_noise_discount=0.5,
    )
    seeded()
    noise = draw_noise(LATENTS, chosen)
    seeded()
    shifted = torch.randn_like(LATENTS) + 0.2 * torch.randn(2, 4, 1, 1)
    assert torch.equal(noise, pyramid_noise(shifted, 3, 0.5))


def test_ip_noise_gamma_disturbs_a_copy() -> None:
    noise = plain_noise()
    before = noise.clone()
    seeded()
    changed = disturbed(noise, Noise(ip_noise_gamma=0.1))
    seeded()
    assert torch.equal(changed, noise + 0.1 * torch.randn_like(LATENTS))
    assert torch.equal(noise, before)
    assert disturbed(noise, Noise()) is noise


def test_ip_noise_gamma_random_strength_is_drawn_first() -> None:
    noise = plain_noise()
    seeded()
    changed = disturbed(noise, Noise(ip_noise_gamma=0.1, ip_noise_gamma_random_strength=True))
    seeded()
    assert torch.equal(changed, noise + torch.rand(1) * 0.1 * torch.randn_like(LATENTS))
