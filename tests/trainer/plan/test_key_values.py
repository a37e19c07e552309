"""`key=value` arguments."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.errors import UserError
from trainer.plan.key_values import Unset, check_known, parse_key_values, rewritten


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


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("weight_decay=0.01,betas=0.9,0.99", "weight_decay=0.01 betas=0.9,0.99"),
        ("weight_decay=0.5, eps=1e-8", "weight_decay=0.5 eps=1e-8"),
        ("weight_decay=0.1; betas=(0.9, 0.99);", "weight_decay=0.1 betas=0.9,0.99"),
        ("weight_decay = 0.1 betas = 0.9, 0.99", "weight_decay=0.1 betas=0.9,0.99"),
        ('{"weight_decay": 0.1, "betas": [0.9, 0.99], "decouple": true}',
         "weight_decay=0.1 betas=0.9,0.99 decouple=true"),
        ("{'eps': 1e-8}", "eps=1e-8"),
        ("--weight_decay 0.1 --betas 0.9,0.99", "weight_decay=0.1 betas=0.9,0.99"),
        ("--decay_rate=-0.8, --eps=1e-30", "decay_rate=-0.8 eps=1e-30"),
        ("ｄ＿ｃｏｅｆ＝２　ｄｅｃｏｕｐｌｅ＝Ｔｒｕｅ", "d_coef=2 decouple=True"),
        ("decay_rate=−0.8、eps=1e-30", "decay_rate=-0.8 eps=1e-30"),
        ("weight_decay:0.1", "weight_decay=0.1"),
        ("nothing at all", ""),
    ],
)  # fmt: skip
def test_arguments_written_in_other_ways_are_offered_in_ours(text: str, ours: str) -> None:
    assert rewritten(text) == ours


@pytest.mark.parametrize("text", ["(" * 1900, "a=" + "[" * 1900, "a=" + "9" * 1900, "a=" * 900, "x" * 5000])
def test_nonsense_is_a_sentence(text: str) -> None:
    rewritten(text)
    try:
        check_known(parse_key_values(text, "x"), KNOWN, "x", "AdamW")
    except UserError as error:
        assert len(str(error)) < 4000  # noqa: PT017  # some are read and then refused


def test_code_is_not_run() -> None:
    assert parse_key_values("a=__import__('os')", "x") == {"a": "__import__(os)"}


KNOWN = {"weight_decay": 0.01, "betas": (0.9, 0.999), "decouple": True, "beta3": Unset.NUMBER}


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
