"""What a run says of itself."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from trainer.judge.verdict import Point, judge, no_longer_better

PAIRS = 120


def run(gains: list[float], drifts: list[float] | None = None, spread: float = 0.0) -> list[Point]:
    """Points at steps 10, 20, … with these gains on held-out pictures, pairs disagree by `spread`."""
    points = []
    for number, gain in enumerate(gains, 1):
        logs = [math.log(1 - gain) + spread * (-1) ** (pair // number) for pair in range(PAIRS)]
        drift = drifts[number - 1] if drifts else 0.0
        points.append(Point(number * 10, number, tuple(logs), tuple(logs), drift))
    return points


def everywhere(points: list[Point]) -> set[int]:
    return {point.step for point in points}


@pytest.mark.parametrize(
    ("gains", "drifts", "kind", "step"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], None, "too_little", 60),
        ([0.2, 0.4, 0.5, 0.5, 0.5, 0.5], None, "well", 30),
        ([0.2, 0.5, 0.4, 0.2, 0.0, -0.3], None, "too_much", 20),
        ([0.2, 0.5, 0.5, 0.5, 0.5, 0.5], [0, 0, 0.1, 0.2, 0.4, 0.6], "too_much", 20),
        ([0.0, 0.0, 0.0, 0.0, 0.0, 0.0], None, "nothing", 10),
        ([-0.2, -0.5, -0.9, -1, -1, -1], None, "nothing", 10),
    ],
)
def test_the_kinds_of_runs(gains: list[float], drifts: list[float] | None, kind: str, step: int):
    points = run(gains, drifts)
    verdict = judge(points, everywhere(points), pictures=4)
    assert verdict is not None
    assert (verdict.kind, verdict.best.step) == (kind, step)
    assert verdict.sure
    assert verdict.by_drift == (drifts is not None or kind in ("well", "too_little") or not any(gains))


@pytest.mark.parametrize(
    ("drifts", "by_drift"), [([0.1, 0.15, 0.3, 0.4], True), ([0.1, 0.1, 0.11, 0.12], False)]
)
def test_the_reason_of_too_much_is_what_weighs_more(drifts: list[float], by_drift: bool):
    points = run([0.4, 0.5, 0.45, 0.43], drifts)
    verdict = judge(points, everywhere(points), pictures=4)
    assert verdict is not None
    assert (verdict.kind, verdict.by_drift) == ("too_much", by_drift)


def test_only_points_with_a_file_are_recommended():
    points = run([0.2, 0.5, 0.4, 0.2, 0.1, 0.0])
    verdict = judge(points, {10, 40, 60}, pictures=4)
    assert verdict is not None
    assert verdict.best.step in {10, 40}
    assert judge(points, (), pictures=4) is None


def test_of_files_that_are_as_good_as_each_other_the_first():
    points = run([0.3, 0.50, 0.503, 0.504, 0.5, 0.5], spread=0.2)
    verdict = judge(points, everywhere(points), pictures=4)
    assert verdict is not None
    assert verdict.best.step == 20


def test_few_points_say_nothing_and_few_pictures_nothing_sure():
    points = run([0.1, 0.4, 0.2])
    assert judge(points[:2], everywhere(points), pictures=9) is None
    verdict = judge(points, everywhere(points), pictures=2)
    assert verdict is not None
    assert not verdict.sure


@pytest.mark.parametrize(
    ("gains", "stops"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], False),
        ([0.1, 0.2, 0.3, 0.3, 0.3, 0.3], True),
        ([0.1, 0.2, 0.3, 0.1, 0.0, 0.35], False),
        ([0.5, 0.4, 0.3], False),
    ],
)
def test_a_run_stops_when_nothing_better_came_for_three_looks(gains: list[float], stops: bool):
    assert no_longer_better(run(gains), 3) == stops


def test_a_run_is_not_stopped_while_its_verdict_would_be_that_it_still_learns():
    points = run([0.12, 0.19, 0.29, 0.30, 0.34, 0.41])
    # Its pairs disagree, so that nothing is surely better than it.
    pairs = tuple(math.log(1 - 0.29) + 1.5 * (-1) ** pair for pair in range(PAIRS))
    points[2] = replace(points[2], held_out=pairs)
    verdict = judge(points, everywhere(points), 3)
    assert verdict
    assert verdict.kind == "too_little"
    assert not no_longer_better(points, 3)
    assert no_longer_better([*points, *run([0.41] * 10)[6:]], 3), "it has stopped to rise"
