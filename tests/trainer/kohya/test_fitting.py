"""Values of foreign files and of the form become legal ones."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.kohya.fitting import fit
from trainer.settings import TRAINING, Settings

RATE = TRAINING["text_encoder_lr"]


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("5e-5", 5e-5), ("5e-5 1e-5", (5e-5, 1e-5)), (" 5e-5,1e-5 ", (5e-5, 1e-5)), ("5e-5 / 0", (5e-5, 0)),
        ("0 0,1", (0, 0.1)), ("0,5", 0.5), ("1e-4 1e-4", 1e-4), ([5e-5, 1e-5], (5e-5, 1e-5)),
        ((5e-5, "1e-5"), (5e-5, 1e-5)), ([0.0, 0.0], 0), ("", None),
    ],
)  # fmt: skip
def test_one_or_two_rates_in_every_way_they_are_written(raw: Any, value: Any) -> None:
    found = fit(RATE, raw, RATE.default)
    assert (found.value, found.attention) == (value, False)
    assert Settings.from_flat({RATE.key: found.value}).get(RATE.key) == value


@pytest.mark.parametrize(
    "raw", ["a b", "5e-5 b", "1 2 3", [1, 2, 3], [None, 1], [[1], 2], [True, 1], "nan 1", [{}, 1], ["1 2", 3]]
)
def test_what_is_no_rate_takes_the_default(raw: Any) -> None:
    found = fit(RATE, raw, RATE.default)
    assert (found.value, found.attention) == (RATE.default, True)


def test_each_of_two_rates_keeps_its_limits() -> None:
    found = fit(RATE, "5e-5 -1", RATE.default)
    assert (found.value, found.attention) == ((5e-5, 0), True)


@pytest.mark.parametrize("raw", ["1e-4 1e-5", [1e-4, 1e-5]])
def test_other_rates_are_one_number(raw: Any) -> None:
    assert fit(TRAINING["unet_lr"], raw, 1.0).attention
