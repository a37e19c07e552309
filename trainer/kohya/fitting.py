"""Turn a value from a foreign file into one that a setting accepts, and say what was done to it."""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainer.kohya.report import Kind
from trainer.schema import Setting

TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "none", "")
SAME_CHOICES: dict[str, tuple[str, ...]] = {
    "float32": ("float", "no"), "fp32": ("float", "no"), "full": ("float", "no"), "32": ("float", "no"),
    "none": ("no", ""), "false": ("no", ""), "off": ("no", ""),
    "float16": ("fp16",), "half": ("fp16",), "16": ("fp16",), "bfloat16": ("bf16",), "bf_16": ("bf16",),
    "pt": ("ckpt",), "pth": ("ckpt",), "bin": ("ckpt",), "safetensor": ("safetensors",),
    "mse": ("l2",), "mae": ("l1",), "smoothl1": ("smooth_l1",),
    "adamw_8bit": ("AdamW8bit",), "adam8bit": ("AdamW8bit",), "pagedadamw": ("PagedAdamW32bit",),
    "d_adaptation": ("DAdaptation",), "sgd": ("SGDNesterov",), "sgd8bit": ("SGDNesterov8bit",),
}  # fmt: skip
"""Other programs' words for a choice, in small letters, and what they are called here."""
LONGEST_TEXT = 20_000
"""Characters of one text setting; sample prompts are the longest in use."""


@dataclass(frozen=True)
class Fitted:
    """A value for a setting, and how it came about."""

    value: Any
    kind: Kind = "taken"
    why: str = ""
    attention: bool = False


def fit(setting: Setting, raw: Any, default: Any) -> Fitted:
    """Make `raw` a legal value of a setting; `default` stands in where that cannot be done.

    Never raises. 64.0 for an int and 1 for a float are taken as they are.
    """
    if setting.pair and len(parts := _parts(raw)) == 2:
        return _pair(setting, parts, default)
    if isinstance(raw, (dict, list, tuple)) or (isinstance(raw, float) and not math.isfinite(raw)):
        return Fitted(default, "converted", "kohya.wrong_type", attention=True)
    if raw is None or (isinstance(raw, str) and not raw.strip() and setting.kind != "choice"):
        return _blank(setting, raw, default)
    if setting.kind == "switch":
        return _switch(raw, default)
    if setting.kind == "choice":
        return _choice(setting, raw, default)
    if setting.kind == "text":
        return _text(raw, default)
    return _number(setting, raw, default)


def _parts(raw: Any) -> Sequence[Any]:
    """Several numbers: a list, or written in one text ("5e-5 1e-5", "5e-5, 1e-5")."""
    if isinstance(raw, str):
        text = re.sub(r"\s*[,;/]\s+|\s+[,;/]\s*|[;/]", " ", raw.strip())
        parts = text.split() if " " in text else text.split(",")
        return () if as_number(text) is not None else parts
    return raw if isinstance(raw, (list, tuple)) else ()


def _pair(setting: Setting, parts: Sequence[Any], default: Any) -> Fitted:
    """Two numbers; the same twice is one."""
    first, second = (fit(setting, part, default) for part in parts)
    if worse := next((part for part in (first, second) if part.attention), None):
        value = default if worse.kind == "converted" else (first.value, second.value)
        return Fitted(value, worse.kind, worse.why, attention=True)
    if not all(isinstance(part.value, (int, float)) for part in (first, second)):
        return Fitted(default, "converted", "kohya.not_a_number", attention=True)
    return Fitted(first.value if first.value == second.value else (first.value, second.value), first.kind)


def _blank(setting: Setting, raw: Any, default: Any) -> Fitted:
    if setting.optional:
        return Fitted(None)
    if setting.kind == "text":
        return Fitted("")
    if setting.kind == "choice" and "" in setting.choices:
        return Fitted("")
    if raw is None and default is None:
        return Fitted(default)
    return Fitted(default, "converted", "kohya.blank")


def _switch(raw: Any, default: bool) -> Fitted:
    if isinstance(raw, bool):
        return Fitted(raw)
    if raw in (0, 1):
        return Fitted(bool(raw))
    if isinstance(raw, str) and raw.strip().lower() in TRUE + FALSE:
        return Fitted(raw.strip().lower() in TRUE, "converted", "kohya.text_as_switch")
    return Fitted(default, "converted", "kohya.wrong_type", attention=True)


def _choice(setting: Setting, raw: Any, default: Any) -> Fitted:
    if not isinstance(raw, bool):
        for choice in setting.choices:
            if raw == choice and isinstance(raw, str) == isinstance(choice, str):
                return Fitted(choice)
        for choice in setting.choices:
            if str(raw).strip().lower() == str(choice).lower():
                return Fitted(choice, "converted", "kohya.spelling")
        same = SAME_CHOICES.get(str(raw).strip().lower().replace("torch.", "").replace("-", "_"), ())
        matching = [choice for choice in setting.choices if choice in same]
        if matching:
            return Fitted(matching[0], "converted", "kohya.same_choice")
        return Fitted(_nearest(setting, raw, default), "converted", "kohya.no_such_choice", attention=True)
    return Fitted(default, "converted", "kohya.no_such_choice", attention=True)


def _nearest(setting: Setting, raw: Any, default: Any) -> Any:
    """The choice that comes closest: of numbers the largest that is not above, of names the most alike."""
    if all(isinstance(choice, int) for choice in setting.choices):
        number = as_number(str(raw))
        below = [choice for choice in setting.choices if number is not None and choice <= number]
        return default if number is None else max(below, default=min(setting.choices))
    names = {str(choice).lower(): choice for choice in setting.choices if choice}
    near = difflib.get_close_matches(str(raw).strip().lower()[:60], names, n=1)
    return names[near[0]] if near else default


def _text(raw: Any, default: str) -> Fitted:
    if isinstance(raw, bool):
        return Fitted(default, "converted", "kohya.wrong_type", attention=True)
    if isinstance(raw, str):
        if len(raw) > LONGEST_TEXT:
            return Fitted(raw[:LONGEST_TEXT], "out_of_range", "kohya.too_long", attention=True)
        return Fitted(raw)
    return Fitted(str(raw), "converted", "kohya.number_as_text")


def _number(setting: Setting, raw: Any, default: Any) -> Fitted:
    if isinstance(raw, bool):
        return Fitted(default, "converted", "kohya.wrong_type", attention=True)
    why, text = "", raw
    if isinstance(raw, str):
        number = as_number(raw)
        if number is None:
            return Fitted(default, "converted", "kohya.not_a_number", attention=True)
        why = "kohya.text_as_number"
        raw = number
    if setting.kind == "int" and raw != int(raw):
        value, why = round(raw), "kohya.not_whole"
    else:
        value = int(raw) if setting.kind == "int" else raw
    clamped = _clamp(setting, value)
    if clamped != value:
        return Fitted(clamped, "out_of_range", "kohya.clamped", attention=True)
    if text == str(value):  # "20" and 20 read the same
        return Fitted(value)
    return Fitted(value, "converted" if why else "taken", why)


def as_number(text: str) -> int | float | None:
    """A number written as text ("5e-5", " 1 ", "0,5", "０．０１"), or None. Infinity and NaN are none."""
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-").strip()
    if re.fullmatch(r"[+-]?\d{1,18},\d{1,18}", text):
        text = text.replace(",", ".")
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    if not re.fullmatch(r"[+-]?(\d{1,30}\.?\d{0,30}|\.\d{1,30})([eE][+-]?\d{1,3})?", text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def _clamp(setting: Setting, value: float) -> float:
    low, above, high = setting.bound("ge"), setting.bound("gt"), setting.bound("le")
    if low is not None and value < low:
        return type(value)(low)
    if above is not None and value <= above:
        return setting.default
    if high is not None and value > high:
        return type(value)(high)
    return value
