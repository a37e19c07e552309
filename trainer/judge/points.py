"""When a run is judged and on how much, so that it costs little of the run's time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from trainer.settings import Validation

COST = 0.03
"""Share of a run's time that judging may take."""
FORWARDS_PER_STEP = 2.5
"""A picture that is learned costs about as much as so many that are only looked at."""
TIMESTEPS = 4
"""Noise levels at which each picture is looked at, and places on the way of each prompt."""
FEWEST_PAIRS, MOST_PAIRS = TIMESTEPS, 64
MOST_PROMPTS = 6
FEWEST_POINTS, FEWEST_TO_STOP, MOST_POINTS = 4, 8, 40
USUAL_POINTS = 8
"""Where the settings name no times and few files are written."""


@dataclass(frozen=True)
class JudgePlan:
    """When and on how much a run is judged."""

    held_out: tuple[str, ...]
    """Names of the pictures that are kept back, as "folder/file"."""
    steps: tuple[int, ...] = ()
    """After which steps; the base model is looked at once before the first."""
    pairs: int = 0
    """Pairs of a held-out picture and a timestep, and as many of trained pictures."""
    prompts: int = 0
    """Ordinary prompts."""
    cost: float = 0.0
    """Share of the run's time, estimated."""


def judge_plan(
    validation: Validation,
    held_out: Collection[str],
    *,
    saves: Collection[int],
    per_epoch: int,
    total: int,
    pictures_per_step: int,
) -> JudgePlan | None:
    """The plan of judging; None where nothing is held out.

    `saves`: steps after which files are written; `pictures_per_step`: learned in one step.
    """
    if not (held_out and total):
        return None
    affordable = COST * total * pictures_per_step * FORWARDS_PER_STEP  # looks
    fewest = FEWEST_TO_STOP if validation.stop_at_best else FEWEST_POINTS
    most = max(fewest, min(MOST_POINTS, int(affordable / _looks(FEWEST_PAIRS, 1)) - 1))
    steps = _evenly(_steps(validation, saves, per_epoch, total), most)
    each = affordable / (len(steps) + 1)
    pictures = min(len(held_out), validation.max_validation_steps or len(held_out))
    pairs = max(FEWEST_PAIRS, min(MOST_PAIRS, TIMESTEPS * pictures, int(each / 3)))
    prompts = max(1, min(MOST_PROMPTS, pairs // TIMESTEPS))
    looks = _looks(pairs, prompts) * (len(steps) + 1)
    cost = looks / (total * pictures_per_step * FORWARDS_PER_STEP + looks)
    return JudgePlan(tuple(sorted(held_out)), steps, pairs, prompts, cost)


def _looks(pairs: int, prompts: int) -> int:
    """Pictures that the model looks at each time."""
    return 2 * pairs + prompts * TIMESTEPS


def _steps(validation: Validation, saves: Collection[int], per_epoch: int, total: int) -> list[int]:
    """After every file; by the settings, or else evenly where there are few files; after the last step.

    A run that may stop by itself is judged at its files only, so that the best of them is there.
    """
    if validation.stop_at_best:
        return sorted({*saves, total})
    every = validation.validate_every_n_steps or validation.validate_every_n_epochs * per_epoch
    if not every and len(saves) < USUAL_POINTS // 2:
        every = max(1, total // USUAL_POINTS)
    return sorted({*saves, *(range(every, total, every) if every else ()), total})


def _evenly(steps: list[int], most: int) -> tuple[int, ...]:
    """At most so many of them, the last always."""
    apart = -(-len(steps) // most)
    return tuple(steps[::-1][::apart][::-1])
