"""Which file of a run is the best, and what the run says of its settings.

At every point the same pictures are noised in the same way, so points are compared pair by pair: what the
pairs have in common (a hard picture, a noisy timestep) falls out, and how far the differences disagree says
how sure it is.

*Worth* of a point: how much better held-out pictures are understood than by the base model, less how far
the answers to ordinary prompts have moved. Both are shares of the base model's own error.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

Degree = Literal["nothing", "too_little", "well", "too_much"]
LEAST = 0.005
"""Differences of worth below count as none, however sure they are."""
DRIFT_COUNTS = 0.5
"""How much a change of ordinary prompts counts against understanding of the subject (docs/judge.md)."""
FEWEST_JUDGED = 3
"""Of fewer points nothing is said."""
FEWEST_PICTURES = 3
"""With fewer held-out pictures, what is said is not sure."""


@dataclass(frozen=True)
class Point:
    """A run judged after a step."""

    step: int
    epoch: int
    held_out: tuple[float, ...]
    """ln(error with the LoRA ÷ error without), a number per pair of held-out picture and timestep."""
    learned: tuple[float, ...]
    """The same for pictures that are trained."""
    drift: float
    """How far answers to ordinary prompts have moved, as a share of the base model's error."""

    @property
    def gain(self) -> float:
        """Share of the error on held-out pictures that is gone; negative: it has grown."""
        return 1 - math.exp(_mean(self.held_out))

    @property
    def learned_gain(self) -> float:
        """The same on trained pictures."""
        return 1 - math.exp(_mean(self.learned))

    @property
    def worth(self) -> float:
        """See above."""
        return self.gain - DRIFT_COUNTS * self.drift


@dataclass(frozen=True)
class Verdict:
    """What a run says of itself."""

    kind: Degree
    best: Point
    """The point of the greatest worth; the first where several are equal."""
    sure: bool
    by_drift: bool = False
    """After `best` it is mostly ordinary prompts that change, not the subject that is understood worse."""


def judge(points: Sequence[Point], saved: Collection[int], pictures: int) -> Verdict | None:
    """The verdict on a run, or None where there are too few points or none with a file.

    `saved`: steps of which there is a file; `pictures`: how many are held out.
    """
    with_file = [point for point in points if point.step in saved]
    if len(points) < FEWEST_JUDGED or not with_file:
        return None
    top = max(with_file, key=lambda point: point.worth)
    best = next(point for point in with_file if top.worth - point.worth <= LEAST)
    last = points[-1]
    if not is_better(best, _nothing(best)):
        kind: Degree = "nothing"
    elif is_better(best, last) and last.step > best.step:
        kind = "too_much"
    elif best.step == with_file[-1].step and _rises(points):
        kind = "too_little"
    else:
        kind = "well"
    drifted = DRIFT_COUNTS * (last.drift - best.drift)
    by_drift = best.gain - last.gain <= max(_doubt(best, last), drifted)
    return Verdict(kind, best, pictures >= FEWEST_PICTURES, by_drift)


def is_better(one: Point, other: Point) -> bool:
    """Whether a point is worth more than another, by more than the pairs disagree about it."""
    return one.worth - other.worth > max(LEAST, _doubt(one, other))


def no_longer_better(points: Sequence[Point], patience: int) -> bool:
    """Whether the last `patience` points are none better than one before them ("Stop when …").

    A run of which the verdict would say that it was still getting better is not at its end.
    """
    if len(points) < FEWEST_JUDGED + patience:
        return False
    before, since = points[:-patience], points[-patience:]
    best = max(before, key=lambda point: point.worth)
    return not any(is_better(point, best) for point in since) and not _rises(points)


def _nothing(like: Point) -> Point:
    """The base model as a point."""
    return Point(0, 0, (0.0,) * len(like.held_out), (0.0,) * len(like.learned), 0.0)


def _rises(points: Sequence[Point]) -> bool:
    """Whether the run was still getting better at its end: its last point against the one a third before."""
    return is_better(points[-1], points[-1 - max(1, len(points) // 3)])


def _doubt(one: Point, other: Point) -> float:
    """Standard error of the difference of two points' gains, from their pairs."""
    differences = [
        math.exp(theirs) - math.exp(ours) for ours, theirs in zip(one.held_out, other.held_out, strict=True)
    ]
    if len(differences) < 2:
        return math.inf
    mean = _mean(differences)
    variance = sum((value - mean) ** 2 for value in differences) / (len(differences) - 1)
    return math.sqrt(variance / len(differences))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
