"""sd-scripts' options of single schedules, to and from the extra arguments."""

from __future__ import annotations

import pytest

from trainer.kohya.schedule_options import apart, schedule_takes, with_argument


@pytest.mark.parametrize(
    ("text", "value", "after"),
    [
        ("", "100", "decay_steps=100"),
        ("a=1 decay_steps=5 b=2", "30%", "a=1 b=2 decay_steps=0.3"),
        ("decay_steps_of=1", 7, "decay_steps_of=1 decay_steps=7"),
        ("", " 2.5% ", "decay_steps=0.025"),
        ("", "many%", "decay_steps=many%"),
    ],
)
def test_an_option_takes_the_place_of_its_argument(text: str, value: object, after: str):
    assert with_argument(text, "lr_decay_steps", value) == after


def test_only_the_schedule_that_listens_gets_the_option():
    assert schedule_takes("warmup_stable_decay", "lr_decay_steps")
    assert not schedule_takes("constant", "lr_decay_steps")
    assert not schedule_takes("no such", "lr_decay_steps")
    pieces = ["decay_steps=0.3", "power=2", "min_lr_ratio=low"]
    assert apart("warmup_stable_decay", pieces) == (pieces[1:], {"lr_decay_steps": 0.3})
    assert apart("constant", pieces) == (pieces, {})
