"""`key=value` arguments."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.errors import UserError
from trainer.plan.key_values import NO_DEFAULT, check_known, parse_key_values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("weight_decay=0.01", {"weight_decay": 0.01}),
        ("  weight_decay=0.01   betas=0.9,0.99\n", {"weight_decay": 0.01, "betas": (0.9, 0.99)}),
        ('"betas=0.9, 0.99" decouple=True', {"betas": (0.9, 0.99), "decouple": True}),
        ("decouple=true slow=False beta3=None", {"decouple": True, "slow": False, "beta3": None}),
        ("step_rules='1:30,0.1:60,0.01'", {"step_rules": "1:30,0.1:60,0.01"}),
        ("eps=1e-30,1e-3", {"eps": (1e-30, 1e-3)}),
        ("a=x=y", {"a": "x=y"}),
    ],
)  # fmt: skip
def test_values_are_read_and_typed(text: str, values: dict[str, Any]) -> None:
    assert parse_key_values(text, "optimizer_args") == values


@pytest.mark.parametrize("text", ["weight_decay", "=1", "a=", "1=2", "weight_decay= 0.1", 'a="1'])
def test_what_is_no_pair_is_told(text: str) -> None:
    with pytest.raises(UserError) as error:
        parse_key_values(text, "optimizer_args")
    assert error.value.setting == "optimizer_args"
    assert str(error.value)


def test_code_is_not_run() -> None:
    assert parse_key_values("a=__import__('os')", "x") == {"a": "__import__(os)"}


KNOWN = {"weight_decay": 0.01, "betas": (0.9, 0.999), "decouple": True, "beta3": NO_DEFAULT}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"wieght_decay": 0.1}, "weight_decay"),
        ({"nothing_like_it": 1}, "nothing_like_it"),
        ({"weight_decay": "much"}, "much"),
        ({"weight_decay": True}, "True"),
        ({"betas": 0.9}, "betas"),
        ({"betas": (0.9,)}, "betas"),
        ({"decouple": 1}, "decouple"),
    ],
)
def test_unknown_names_and_wrong_kinds_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as error:
        check_known(values, KNOWN, "optimizer_args", "AdamW")
    assert words in str(error.value)


def test_right_values_pass() -> None:
    check_known(
        {"weight_decay": 1, "betas": [0.9, 0.99], "decouple": False, "beta3": 0.5}, KNOWN, "x", "AdamW"
    )
