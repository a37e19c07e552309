"""The schema as widgets and back: the only file that knows which widget fits which setting."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trainer.kohya.fitting import fit
from trainer.settings import SETTINGS, Setting


def shown(setting: Setting, value: Any) -> Any:
    """A value as its widget holds it: learning rates are texts such as "5e-5"."""
    if setting.spec.widget == "rate":
        return "" if value is None else value if isinstance(value, str) else rate_text(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def shown_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values for all widgets; those that are absent take their default."""
    return {key: shown(setting, values.get(key, setting.default)) for key, setting in SETTINGS.items()}


def typed(key: str, raw: Any) -> Any:
    """The value that a widget's content stands for (the nearest legal one)."""
    return fit(key, raw, SETTINGS[key].default).value


def changed(raw: Mapping[str, Any]) -> list[str]:
    """Keys whose content differs from the default, in the order of declaration."""
    return [
        key
        for key, setting in SETTINGS.items()
        if key in raw and not _same(raw[key], shown(setting, setting.default), key)
    ]


def _same(raw: Any, default: Any, key: str) -> bool:
    if raw in ("", None) and default in ("", None):
        return True
    return raw == default or (typed(key, raw) == SETTINGS[key].default and _readable(key, raw))


def _readable(key: str, raw: Any) -> bool:
    """Whether the content itself is that value, and not only replaced by it."""
    result = fit(key, raw, SETTINGS[key].default)
    return not result.attention and result.why != "kohya.not_whole"


def rate_text(value: float) -> str:
    """1e-4, 5e-5, 0.002, 1: short and without a leading zero in the exponent."""
    if value == 0 or abs(value) >= 0.001:
        return f"{value:g}"
    exponent = math.floor(math.log10(abs(value)))
    mantissa = float(f"{value / 10.0**exponent:.6g}")
    if mantissa >= 10:
        mantissa, exponent = mantissa / 10, exponent + 1
    return f"{mantissa:g}e{exponent}"


def plain(key: str, value: Any) -> str:
    """A value for people: "" and None as they are seen by the caller's word for blank."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "✓" if value else "–"
    return str(shown(SETTINGS[key], value))
