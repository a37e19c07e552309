"""Checks of single values: legal at all, and of a setting that has its effect already."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from trainer.kohya.fitting import Fitted, fit
from trainer.problems import Problem, block, hint
from trainer.schema import Form, Schema, Setting, Values
from trainer.settings import MOST_FACTOR, MOST_STEPS, TRAINING

FAULT_CODES = {
    "kohya.not_a_number": "preflight.value_no_number",
    "kohya.not_whole": "preflight.value_not_whole",
    "kohya.no_such_choice": "preflight.value_choice",
    "kohya.wrong_type": "preflight.value_no_number",
    "kohya.too_long": "preflight.value_too_long",
}

REASONS = {
    "mixed_precision": "preflight.no_fp8_training",
    "train_inpainting": "preflight.no_inpainting",
}
"""Settings marked as not built yet, and why."""


def typed_form(values: Mapping[str, Any], schema: Schema[Values] = TRAINING) -> tuple[Values, list[Problem]]:
    """Settings from a form's values, every bad one replaced by its nearest legal one, and the problems."""
    problems: list[Problem] = []
    fitted: dict[str, Any] = {}
    for key, raw in values.items():
        if key not in schema:
            problems.append(_unknown(key, schema))
            continue
        setting = schema[key]
        result = fit(setting, raw, setting.default)
        fitted[key] = result.value
        if result.attention or result.why == "kohya.not_whole":
            problems.append(_bad_value(setting, raw, result))
    return schema.read(fitted), problems


def _unknown(key: str, schema: Schema[Any]) -> Problem:
    near = difflib.get_close_matches(key, schema, n=1)
    if near:
        return hint("", "preflight.setting_unknown_near", key=key, near=near[0])
    return hint("", "preflight.setting_unknown", key=key)


def _bad_value(setting: Setting, raw: Any, result: Fitted) -> Problem:
    """The problem, with the nearest legal value as its fix. A secret is never repeated."""
    is_secret = setting.spec.widget == "secret"
    fixed = setting.default if is_secret else result.value
    least, over, most = (setting.bound(name) for name in ("ge", "gt", "le"))
    low = least if over is None else over
    out_of_range = result.why == "kohya.clamped"
    return block(
        setting.key,
        _range_code(over, most, is_high=fixed == most) if out_of_range else _code(setting, result),
        {setting.key: fixed},
        label=setting.spec.label,
        value="…" if is_secret else _short(raw),
        fixed=_short(fixed),
        low=_number(low),
        high=_number(most),
        choices=[str(choice) for choice in setting.choices if choice != ""],
    )


def _code(setting: Setting, result: Fitted) -> str:
    if result.why == "kohya.no_such_choice" and result.value == "":
        return "preflight.value_choice_blank"
    if result.value is None and result.why in ("kohya.not_a_number", "kohya.wrong_type"):
        return "preflight.value_number_or_blank"
    return "preflight.value_switch" if setting.kind == "switch" else FAULT_CODES[result.why]


def _range_code(over: float | None, most: float | None, *, is_high: bool) -> str:
    """Which sentence names the limits: both, or the missed one where the other has no meaning of its own."""
    if most not in (None, MOST_STEPS, MOST_FACTOR) and (is_high or over is None):
        return "preflight.value_range"
    return (
        "preflight.value_high"
        if is_high
        else "preflight.value_low"
        if over is None
        else "preflight.value_over"
    )


def _number(value: float | None) -> str:
    """A limit: 100,000 or 0.5; "" where there is none."""
    return "" if value is None else f"{value:,g}" if abs(value) < 100_000 else f"{value:,.0f}"


def _short(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def check_unbuilt(settings: Form, schema: Schema[Any] = TRAINING) -> Iterator[Problem]:
    """Settings that are set to something and have no effect yet: never ignored silently."""
    values = settings.flat()
    for key, code in REASONS.items():
        if key not in schema or not schema.matters(key, values):
            continue
        setting, value = schema[key], settings.get(key)
        unbuilt = setting.spec.unbuilt
        if value in unbuilt if isinstance(unbuilt, tuple) else value != setting.default:
            yield block(key, code, {key: setting.default if unbuilt is True else "bf16"})
