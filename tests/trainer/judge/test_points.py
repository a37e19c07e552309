"""When a run is judged, and what that costs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.judge.points import (
    COST,
    FEWEST_POINTS,
    FORWARDS_PER_STEP,
    MOST_POINTS,
    TIMESTEPS,
    JudgePlan,
    judge_plan,
)
from trainer.settings import Validation

PICTURES = [f"10_cat/{number}.png" for number in range(8)]


def planned(
    total: int = 2000, saves: range | tuple[int, ...] = (), pictures: int = 1, **chosen: Any
) -> JudgePlan:
    found = judge_plan(
        Validation(validation_split=0.2, **chosen),
        PICTURES,
        saves=[*saves, total],
        per_epoch=100,
        total=total,
        pictures_per_step=pictures,
    )
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("chosen", "saves", "steps"),
    [
        ({}, range(500, 2000, 500), [500, 1000, 1500, 2000]),
        ({}, (), [*range(250, 2001, 250)]),
        ({"validate_every_n_steps": 400}, (1000,), [400, 800, 1000, 1200, 1600, 2000]),
        ({"validate_every_n_epochs": 5}, (), [500, 1000, 1500, 2000]),
        ({"validate_every_n_epochs": 5, "validate_every_n_steps": 800}, (), [800, 1600, 2000]),
        ({"stop_at_best": True, "validate_every_n_steps": 100}, (600, 1200), [600, 1200, 2000]),
    ],
)
def test_when_a_run_is_judged(chosen: dict[str, Any], saves: range, steps: list[int]):
    assert list(planned(saves=saves, **chosen).steps) == steps


@given(
    st.integers(1, 10**6), st.integers(1, 64), st.integers(0, 5000), st.integers(0, 100), st.integers(0, 100)
)
def test_it_costs_little_whatever_is_asked_for(total: int, pictures: int, every: int, epochs: int, most: int):
    plan = planned(
        total,
        range(max(1, total // 50), total, max(1, total // 50)),
        pictures,
        validate_every_n_steps=every,
        validate_every_n_epochs=epochs,
        max_validation_steps=most,
    )
    assert plan.steps[-1] == total
    assert len(plan.steps) <= MOST_POINTS
    smallest = (FEWEST_POINTS + 1) * 3 * TIMESTEPS  # answers: two pictures and a prompt at each timestep
    if (
        COST * total * pictures * FORWARDS_PER_STEP >= smallest
    ):  # with less to learn, those are more than that
        assert plan.cost <= COST + 0.001


def test_longer_runs_look_at_more():
    short, long = planned(total=2000), planned(total=20_000)
    assert short.pairs < long.pairs
    assert short.prompts < long.prompts


def test_max_validation_steps_limits_the_pictures():
    assert planned(20_000).pairs > planned(20_000, max_validation_steps=2).pairs == 8


def test_nothing_held_out_nothing_judged():
    assert judge_plan(Validation(), [], saves=[5], per_epoch=5, total=5, pictures_per_step=1) is None
