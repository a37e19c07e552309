"""Loss: distances."""

from __future__ import annotations

import pytest
import torch

from trainer.training.loss import distance


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
