"""The schema as widgets and back: the only file that knows which widget fits which setting."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trainer.kohya.fitting import fit
from trainer.schema import Schema, Setting
from trainer.settings import TRAINING


def shown(setting: Setting, value: Any) -> Any:
    """A value as its widget holds it: learning rates are texts such as "5e-5"."""
    if setting.spec.widget == "rate":
        return "" if value is None else value if isinstance(value, str) else rates_text(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def shown_values(values: Mapping[str, Any], schema: Schema[Any] = TRAINING) -> dict[str, Any]:
    """Values for all widgets; those that are absent take their default."""
    return {key: shown(setting, values.get(key, setting.default)) for key, setting in schema.items()}


def typed(setting: Setting, raw: Any) -> Any:
    """The value that a widget's content stands for (the nearest legal one)."""
    return fit(setting, raw, setting.default).value


def typed_values(raw: Mapping[str, Any], schema: Schema[Any] = TRAINING) -> dict[str, Any]:
    """The same of all widgets; what is none of theirs is left out."""
    return {key: typed(schema[key], value) for key, value in raw.items() if key in schema}


def changed(raw: Mapping[str, Any], schema: Schema[Any] = TRAINING) -> list[str]:
    """Keys whose content differs from the default, in the order of declaration."""
    return [key for key, setting in schema.items() if key in raw and not _is_default(setting, raw[key])]


def _is_default(setting: Setting, raw: Any) -> bool:
    default = shown(setting, setting.default)
    if raw in ("", None) and default in ("", None):
        return True
    return raw == default or (typed(setting, raw) == setting.default and _readable(setting, raw))


def _readable(setting: Setting, raw: Any) -> bool:
    """Whether the content itself is that value, and not only replaced by it."""
    result = fit(setting, raw, setting.default)
    return not result.attention and result.why != "kohya.not_whole"


def rates_text(value: float | tuple[float, ...] | list[float]) -> str:
    """One rate, or two with a blank between them."""
    return " ".join(map(rate_text, value)) if isinstance(value, (tuple, list)) else rate_text(value)


def rate_text(value: float) -> str:
    """1e-4, 5e-5, 0.002, 1: short and without a leading zero in the exponent."""
    if value == 0 or abs(value) >= 0.001:
        return f"{value:g}"
    exponent = math.floor(math.log10(abs(value)))
    mantissa = float(f"{value / 10.0**exponent:.6g}")
    if mantissa >= 10:
        mantissa, exponent = mantissa / 10, exponent + 1
    return f"{mantissa:g}e{exponent}"


def plain(setting: Setting, value: Any) -> str:
    """A value for people: "" and None as they are seen by the caller's word for blank."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "✓" if value else "–"
    return str(shown(setting, value))
