"""Every setting has a test of its effect, or a reason why it has none."""

from __future__ import annotations

from pathlib import Path

from tests.effect_tests import TESTS, WITHOUT_EFFECT
from tests.trainer.test_effects import EFFECTS
from trainer.settings import TRAINING

ROOT = Path(__file__).parents[2]


def test_every_setting_has_its_effect_tests_or_a_reason():
    assert not set(TRAINING) - set(TESTS) - set(WITHOUT_EFFECT)
    assert not set(TESTS) & set(WITHOUT_EFFECT)
    assert not (set(TESTS) | set(WITHOUT_EFFECT)) - set(TRAINING)


def test_every_effect_has_a_name_of_its_own():
    assert len({row.effect for row in EFFECTS.values()}) == len(EFFECTS)


def test_the_recorded_tests_exist():
    for name in TESTS.values():
        path, _, function = name.partition("::")
        assert f"def {function.partition('[')[0]}(" in (ROOT / path).read_text(encoding="utf-8"), name
