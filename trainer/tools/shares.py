"""LoRA files with strengths as a form has them: one a line, "style.safetensors:0.8"; without a number 1."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from trainer.errors import UserError
from trainer.files.paths import clean_path
from trainer.tools.merge import Portion

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)")
LINE = re.compile(r"(?P<path>.*?)(?::(?P<strength>[+-]?(?:\d+\.?\d*|\.\d+)))?", re.DOTALL)
BEHIND = re.compile(
    r"(?P<path>.+\.(?:safetensors|ckpt|pt|bin)[\"']?)\s*[:：](?P<strength>[^/\\]*)", re.IGNORECASE
)
"""What stands behind the name of such a file is meant as its strength, whether or not it is a number."""
MOST_STRENGTH = 100.0


def shares(text: str, setting: str = "loras") -> list[Portion]:
    """The files of a form's text. Raises UserError for a strength that is none."""
    return [_share(line, setting) for line in _lines(text)]


def _lines(text: str) -> Iterator[str]:
    return (line.strip() for line in text.splitlines() if line.strip())


def _share(line: str, setting: str) -> Portion:
    parts = BEHIND.fullmatch(line) or LINE.fullmatch(line)
    path, strength = (parts["path"], parts["strength"]) if parts else (line, None)
    number = 1.0 if strength is None else _number(strength)
    if not path or not abs(number) <= MOST_STRENGTH:
        raise UserError("tools.share", setting, line=line[:120], most=f"{MOST_STRENGTH:g}")
    return Portion(Path(clean_path(path)), number)


def _number(text: str) -> float:
    """A strength as people type it, also with a comma or in full-width digits; NaN for none."""
    plain = unicodedata.normalize("NFKC", text).strip().replace("−", "-").replace(",", ".")
    return float(plain) if NUMBER.fullmatch(plain) else math.nan
