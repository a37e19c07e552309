"""Learning-rate schedules, step by step against the reference."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import pytest
import torch

from tests.trainer.references import reference
from trainer.errors import UserError
from trainer.plan.lr_schedule import build_lr_scheduler, rates, schedule, warmup_steps
from trainer.settings import Optimizer

CASES = reference("lr_schedules")


def settings_of(case: dict[str, Any]) -> Optimizer:
    extra = list(case.get("lr_scheduler_args", []))
    if case["lr_scheduler"] == "warmup_stable_decay":
        extra.append(f"decay_steps={case.get('lr_decay_steps', 0)}")
    for theirs, ours in (
        ("lr_scheduler_min_lr_ratio", "min_lr_ratio"),
        ("lr_scheduler_timescale", "timescale"),
    ):
        if theirs in case:
            extra.append(f"{ours}={case[theirs]}")
    known = ("lr_scheduler", "lr_scheduler_num_cycles", "lr_scheduler_power", "lr_scheduler_type")
    values = {key: case[key] for key in known if key in case}
    warmup = case.get("lr_warmup_steps", 0)
    percent: dict[str, Any] = (
        {"lr_warmup": warmup * 100}
        if isinstance(warmup, float)
        else {"lr_warmup_steps": warmup, "lr_warmup": 0}
    )
    return Optimizer(learning_rate=1e-3, lr_scheduler_args=" ".join(extra), **values, **percent)


def name_of(case: dict[str, Any]) -> str:
    return " ".join(str(value) for key, value in case.items() if key != "rates")


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_every_step_equals_the_reference(case: dict[str, Any]) -> None:
    chosen, steps = settings_of(case), case["max_train_steps"]
    factor = schedule(chosen, steps, warmup_steps(chosen, steps))
    ours = [1e-4 * factor(step) for step in range(steps + 1)]
    assert ours == pytest.approx(case["rates"], rel=1e-9, abs=1e-18)


def test_the_scheduler_moves_every_group_by_the_same_factor() -> None:
    chosen = Optimizer(lr_scheduler="cosine", lr_warmup=20)
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": weights[:1], "lr": 1.0}, {"params": weights[1:], "lr": 0.5}])
    lr_scheduler = build_lr_scheduler(chosen, optimizer, 10)
    seen = []
    for _ in range(10):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        lr_scheduler.step()
    factors = rates(chosen, 10)
    assert seen == [[factor, 0.5 * factor] for factor in factors]
    assert factors[0] == 0.0
    assert factors[2] == 1.0


@pytest.mark.parametrize(
    ("percent", "total", "steps"), [(10, 100, 10), (10, 14, 1), (10, 15, 2), (33, 8, 3), (0, 9, 0)]
)
def test_warmup_percent_is_rounded(percent: float, total: int, steps: int) -> None:
    assert warmup_steps(Optimizer(lr_scheduler="linear", lr_warmup=percent), total) == steps


def test_warmup_steps_win_over_the_percentage() -> None:
    assert warmup_steps(Optimizer(lr_scheduler="linear", lr_warmup=50, lr_warmup_steps=3), 100) == 3


@pytest.mark.parametrize("name", ["constant", "piecewise_constant", "adafactor"])
def test_schedules_without_warmup_have_none(name: str) -> None:
    assert warmup_steps(Optimizer(lr_scheduler=name, lr_warmup=10), 100) == 0  # pyright: ignore[reportArgumentType]  # any name


@pytest.mark.parametrize(
    ("name", "power"), [("polynomial", 1.0), ("polynomial", 2.0), ("cosine_with_restarts", 1.0)]
)
def test_lr_number_of_cycles_starts_the_rate_anew(name: Any, power: float) -> None:
    chosen = Optimizer(
        lr_scheduler=name,
        lr_scheduler_power=power,
        lr_scheduler_num_cycles=2,
        lr_warmup=0,
        learning_rate=1e-3,
    )
    found = rates(chosen, 100)
    assert found[:50] == pytest.approx(found[50:])
    assert (found[0], found[50]) == (1.0, 1.0)
    assert max(found[49], found[99]) < 0.03
    assert all(later < earlier for earlier, later in itertools.pairwise(found[:50]))


def test_decay_steps_below_1_are_a_share() -> None:
    def decaying(value: str) -> list[float]:
        return rates(
            Optimizer(lr_scheduler="warmup_stable_decay", lr_scheduler_args=f"decay_steps={value}"), 100
        )

    assert decaying("0.3") == decaying("30")
    assert decaying("0.308") == decaying("30")
    assert decaying("0.308") != decaying("31")


def test_stable_decay_falls_over_the_last_tenth_by_itself() -> None:
    found = rates(Optimizer(lr_scheduler="warmup_stable_decay", lr_warmup=10), 100)
    assert found[10:91] == [1.0] * 81
    assert found[99] < 0.05


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"lr_scheduler": "piecewise_constant"}, "step_rules"),
        ({"lr_scheduler": "piecewise_constant", "lr_scheduler_args": "step_rules=a:b"}, "a:b"),
        ({"lr_scheduler": "cosine", "lr_scheduler_args": "min_lr_ratio=0.1"}, "cosine"),
        ({"lr_scheduler": "cosine_with_min_lr", "lr_scheduler_args": "min_lr_ration=0.1"}, "min_lr_ratio"),
        ({"lr_scheduler": "cosine_with_min_lr", "lr_scheduler_args": "min_lr_ratio=much"}, "much"),
    ],
)
def test_wrong_extra_arguments_are_told(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as error:
        rates(Optimizer(**values), 10)
    assert words in str(error.value)
    assert error.value.setting == "lr_scheduler_args"


def test_adafactor_schedule_needs_adafactor() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    with pytest.raises(UserError):
        build_lr_scheduler(Optimizer(lr_scheduler="adafactor"), optimizer, 10)


def test_the_page_can_draw_curves_without_torch() -> None:
    names = ("plan.lr_schedule", "plan.optimizer_args", "lora.blocks", "files.file_hashes")
    modules = ", ".join(f"trainer.{name}" for name in names)
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
