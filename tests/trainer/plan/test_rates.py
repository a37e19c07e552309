"""Which rate a part gets from what stands in the settings, and whether it is trained at all."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.plan.rates import denoiser_rate, text_rates, trains_denoiser, trains_text_encoder, written_rates
from trainer.settings import Optimizer


@pytest.mark.parametrize(
    ("values", "denoiser", "text"),
    [
        ({}, 1e-3, (1e-3, 1e-3)),
        ({"unet_lr": 2e-4}, 2e-4, (1e-3, 1e-3)),
        ({"unet_lr": 0.0}, 0.0, (1e-3, 1e-3)),
        ({"text_encoder_lr": 5e-5}, 1e-3, (5e-5, 5e-5)),
        ({"text_encoder_lr": (5e-5, 0.0)}, 1e-3, (5e-5, 0.0)),
        ({"text_encoder_lr": (0.0, 0.0)}, 1e-3, (0.0, 0.0)),
        ({"text_encoder_lr": 0.0, "learning_rate": 0.0}, 0.0, (0.0, 0.0)),
    ],
)
def test_a_blank_rate_is_the_learning_rate(
    values: dict[str, Any], denoiser: float, text: tuple[float, float]
):
    optimizer = Optimizer(**{"learning_rate": 1e-3, "unet_lr": None, "text_encoder_lr": None, **values})
    assert denoiser_rate(optimizer) == denoiser
    assert text_rates(optimizer) == text
    assert trains_denoiser(optimizer) == (denoiser > 0)
    assert trains_text_encoder(optimizer) == (max(text) > 0)


def test_only_rates_that_stand_there_are_listed():
    optimizer = Optimizer(learning_rate=0.0, unet_lr=None, text_encoder_lr=(0.0, 3e-5))
    assert written_rates(optimizer) == {"learning_rate": (), "unet_lr": (), "text_encoder_lr": (3e-5,)}
