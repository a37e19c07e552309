"""What is typed as arguments: what stands twice, what only graphics cards know, and what a fix leaves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.trainer.found import expect, find
from tests.trainer.made import sound_settings
from trainer.plan import machine
from trainer.plan.key_values import last_of_each
from trainer.preflight.check import check


@pytest.mark.parametrize(("values", "left"), [
    ({"optimizer_args": "weight_decay=0.1 betas=0.9,0.99 weight_decay=0.2"},
     "betas=0.9,0.99 weight_decay=0.2"),
    ({"optimizer_args": "'eps=1e-6' eps=1e-7 \"eps=1e-8\""}, "eps=1e-8"),
    ({"lr_scheduler": "warmup_stable_decay", "lr_scheduler_args": "min_lr_ratio=0.1 min_lr_ratio=0.2"},
     "min_lr_ratio=0.2"),
])  # fmt: skip
def test_a_name_that_stands_twice_is_told(values: dict[str, Any], left: str, tmp_path: Any) -> None:
    key = next(key for key in values if key.endswith("_args"))
    settings = sound_settings(tmp_path, **values)
    problem = expect(settings, "core.argument_twice", setting=key, blocks=False)
    assert problem.fix == {key: left}


@pytest.mark.parametrize("text", ["", "a=1", "a=1 b=1", "a='", "a=1 A=1"])
def test_what_stands_once_is_not_told(text: str) -> None:
    assert last_of_each(text) == ("", "")


@pytest.mark.parametrize(("text", "left"), [
    ("weight_decay=0.1 foo=1", "weight_decay=0.1"),
    ("weight_decay=0.1 betas=2,3 eps=1e-6 nonsense", "weight_decay=0.1 eps=1e-6"),
    ("foo=1", ""), ("weight_decay='0.1", "weight_decay=0.1"),
])  # fmt: skip
def test_a_fix_leaves_what_is_sound(text: str, left: str, tmp_path: Any) -> None:
    problems = check(sound_settings(tmp_path, optimizer_args=text)).problems
    (problem,) = [problem for problem in problems if problem.setting == "optimizer_args"]
    assert problem.blocks
    assert problem.fix == {"optimizer_args": left}


@pytest.mark.parametrize("memory", [0, 8_000_000_000])
def test_what_only_graphics_cards_know_is_told_without_one(
    memory: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "graphics_memory", lambda: memory)
    settings = sound_settings(tmp_path, optimizer_args="weight_decay=0.1 capturable=True")
    if memory:
        assert not check(settings).problems
    else:
        problem = find(check(settings), "core.argument_card")
        assert problem.fix == {"optimizer_args": "weight_decay=0.1"}
    off = settings.replace(optimizer_args="capturable=False")
    assert not check(off).problems
