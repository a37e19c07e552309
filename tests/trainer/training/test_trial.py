"""What is typed as arguments is told at its field before the run, whatever a library would do with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
import torch

from trainer.errors import UserError
from trainer.plan.key_values import Unset
from trainer.plan.lr_schedule import EXTRA_ARGUMENTS, LIMITS
from trainer.plan.optimizer_args import KNOWN_ARGUMENTS, ONE_RATE_ONLY, extra_arguments, limits_of
from trainer.settings import Optimizer, OptimizerName, SchedulerName
from trainer.training.trial import try_out

CPU = torch.device("cpu")
NAMES = get_args(OptimizerName)
NOWHERE = [
    *("-1", "-0.5", "-1e-30", "0", "1e-30", "0.5", "1", "1.5", "2", "100", "1e30", "1e400"),
    *("None", "True", "abc", "1,2", "[]", "{}", "0.9,0.5,-1"),
]


def chosen(name: str, arguments: str, **values: Any) -> Optimizer:
    rate = 1.0 if name in ONE_RATE_ONLY else 1e-3
    rates = {"learning_rate": rate, "unet_lr": rate, "text_encoder_lr": rate}
    values = {"lr_scheduler": "constant", **rates, **values}
    return Optimizer(optimizer=name, optimizer_args=arguments, **values)  # pyright: ignore[reportArgumentType]  # any name


def outcome(optimizer: Optimizer, steps: int = 100) -> str:
    """ "" where it works; else the code of what is said. Anything but a UserError would be our fault."""
    try:
        try_out(optimizer, steps, CPU)
    except UserError as error:
        told = error
    else:
        return ""
    assert "{" not in str(told).replace("{}", "")
    assert told.setting in ("optimizer_args", "lr_scheduler_args", "lr_scheduler")
    return told.message.code


def near_limits(name: str) -> Iterator[str]:
    """Arguments at the ends of what the table allows."""
    for key, default in KNOWN_ARGUMENTS[name].items():
        limits = limits_of(name, {}).get(key)
        if isinstance(default, bool) and not (limits and limits.only):
            yield f"{key}={not default}"
        if limits and limits.only:
            yield from (f"{key}={value}" for value in limits.only)
        elif limits and not isinstance(default, bool):
            ends = [(limits.low, limits.above, 1e-12), (limits.high, limits.below, -1e-6)]
            for end, open_, inside in ends:
                if abs(end) < 1e300:
                    value = end + inside if open_ else int(end) if limits.whole else end
                    count = len(default) if isinstance(default, tuple) else 1
                    yield f"{key}={','.join([f'{value:.12g}'] * count)}"


SOMETIMES = {"capturable=True"}
"""Works on graphics cards only: the trial says so."""


@pytest.mark.parametrize("name", NAMES)
def test_what_the_table_allows_works(name: str) -> None:
    for arguments in near_limits(name):
        extra_arguments(chosen(name, arguments))
        if arguments not in SOMETIMES:
            assert not outcome(chosen(name, arguments)), arguments


@pytest.mark.parametrize("name", NAMES)
def test_no_value_of_any_argument_is_our_fault(name: str) -> None:
    for key in KNOWN_ARGUMENTS[name]:
        for value in NOWHERE:
            outcome(chosen(name, f"{key}={value}"))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("AdamW", "weight_decay=-0.1"), ("AdamW8bit", "betas=0.9,1"), ("Lion", "betas=-0.1,0.9"),
        ("Prodigy", "d0=0"), ("Prodigy", "slice_p=0"), ("Prodigy", "beta3=abc"),
        ("Adafactor", "decay_rate=1"),
        ("SGDNesterov", "momentum=0"), ("SGDNesterov", "dampening=0.1"), ("SGDNesterov8bit", "momentum=0"),
        ("DAdaptSGD", "momentum=-1"), ("RAdamScheduleFree", "betas=0,0.9"), ("AdamW", "eps=1e400"),
        ("AdamW", "fused=perhaps"), ("SGDScheduleFree", "momentum=1"), ("DAdaptAdan", "betas=0.9,0.9,1"),
    ],
)  # fmt: skip
def test_what_a_library_refuses_is_refused_without_it_and_the_range_is_said(
    name: str, arguments: str
) -> None:
    with pytest.raises(UserError) as error:
        extra_arguments(chosen(name, arguments))
    assert error.value.setting == "optimizer_args"
    assert arguments.partition("=")[0] in str(error.value)


@pytest.mark.parametrize(
    "arguments",
    ["capturable=True", "weight_decay=1000 eps=0 betas=0,0 amsgrad=True"],
)
def test_what_only_the_library_knows_is_said_in_its_words(arguments: str) -> None:
    extra_arguments(chosen("AdamW", arguments))
    assert outcome(chosen("AdamW", arguments)) in ("core.arguments_refused", "core.arguments_not_finite", "")


@pytest.mark.parametrize("name", ["AdamW", "SGDNesterov"])
@pytest.mark.parametrize("arguments", ["foreach=True fused=True", "fused=True foreach=True"])
def test_two_ways_of_the_same_step_are_refused_before_the_run(name: str, arguments: str) -> None:
    with pytest.raises(UserError) as error:
        extra_arguments(chosen(name, arguments))
    assert error.value.setting == "optimizer_args"
    assert "foreach" in str(error.value)
    for one in ("fused=True", "foreach=True", "fused=True foreach=False", "fused=False foreach=True"):
        assert not outcome(chosen(name, one))


@pytest.mark.parametrize("name", [*get_args(SchedulerName), "CosineAnnealingLR"])
def test_no_argument_of_a_schedule_is_our_fault(name: str) -> None:
    kind = {"lr_scheduler_type": name} if name == "CosineAnnealingLR" else {"lr_scheduler": name}
    for key in [*EXTRA_ARGUMENTS.get(name, {}), "other"]:
        for value in [*NOWHERE, "1:3,0.1", "1:x,2", "nan", "inf:1,0", "-1:5,0", "0.5"]:
            for steps in (1, 7):
                outcome(chosen("AdamW", "", **kind, lr_scheduler_args=f"{key}={value}"), steps)


def test_every_argument_of_a_schedule_has_its_limits() -> None:
    for known in EXTRA_ARGUMENTS.values():
        assert {key for key, default in known.items() if default is not Unset.TEXT} <= set(LIMITS)


def test_rates_of_nothing_are_no_fault() -> None:
    """A base rate of 0 with rates for the parts: what the reference's libraries stumble over."""
    for name in NAMES:
        assert not outcome(chosen(name, "", learning_rate=0, unet_lr=1.0, text_encoder_lr=0))


def test_the_trial_leaves_the_run_as_it_would_be() -> None:
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    try_out(chosen("AdamW", "weight_decay=0.1"), 10, CPU)
    assert torch.equal(torch.rand(2), wanted)
