"""Sample pictures: every sampler of the list draws, and drawing leaves the training's chances alone."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from tests.checkpoints import load_model
from tests.trainer.runs import DEMO
from trainer.models.samplers import SAMPLERS
from trainer.plan.sample_prompts import SamplePrompt
from trainer.settings import SamplerName
from trainer.training.sampling import draw
from trainer.training.text_cache import CaptionEncoder

PROMPT = SamplePrompt("a red circle on a white background", "", 128, 128, scale=4.0, steps=8)


@pytest.fixture(scope="module")
def drawn():
    """A function that draws the prompt with a sampler; (128, 128, 3) uint8."""
    model = load_model(str(DEMO / "model"))
    captions = CaptionEncoder(model, torch.device("cpu"), learning=False)

    def make(sampler: str, seed: int = 1, interrupted=lambda: False) -> np.ndarray:
        image = draw(
            model,
            PROMPT,
            lambda text: captions.encode([text]),
            sampler=sampler,
            seed=seed,
            interrupted=interrupted,
        )
        return np.asarray(image)

    return make


def test_the_table_has_every_sampler_of_the_setting():
    assert set(SAMPLERS) == set(get_args(SamplerName))


@pytest.mark.parametrize("sampler", sorted(set(get_args(SamplerName))))
def test_every_sampler_draws_red_on_white(drawn, sampler):
    picture = drawn(sampler).astype(int)
    corner = picture[:6, :6].mean(axis=(0, 1))
    middle = picture[56:72, 56:72].mean(axis=(0, 1))
    assert corner.min() > 150  # a light ground
    assert middle[0] - middle[1] > 40  # a red middle
    assert middle[0] - middle[2] > 40


def test_the_same_seed_gives_the_same_picture_and_another_seed_another(drawn):
    assert (drawn("euler_a", 3) == drawn("euler_a", 3)).all()
    assert (drawn("euler_a", 3) != drawn("euler_a", 4)).any()


def test_drawing_leaves_the_random_state_as_it_was(drawn):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    drawn("euler_a")
    assert torch.equal(torch.rand(3), expected)


def test_stop_is_seen_between_two_steps(drawn):
    asked = []

    def interrupted() -> bool:
        asked.append(1)
        return len(asked) == 2

    with pytest.raises(InterruptedError):
        drawn("ddim", interrupted=interrupted)
    assert len(asked) == 2
