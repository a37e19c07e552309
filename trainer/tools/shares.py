"""LoRA files with strengths as a form has them: one a line, "style.safetensors:0.8"; without a number 1."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from trainer.errors import UserError
from trainer.files.paths import clean_path
from trainer.tools.merge import Portion

LINE = re.compile(r"(?P<path>.*?)(?::(?P<strength>[+-]?(?:\d+\.?\d*|\.\d+)))?", re.DOTALL)
MOST_STRENGTH = 100.0


def shares(text: str, setting: str = "loras") -> list[Portion]:
    """The files of a form's text. Raises UserError for a strength that is none."""
    return [_share(line, setting) for line in _lines(text)]


def _lines(text: str) -> Iterator[str]:
    return (line.strip() for line in text.splitlines() if line.strip())


def _share(line: str, setting: str) -> Portion:
    found = LINE.fullmatch(line)
    path, strength = (found["path"], found["strength"]) if found else (line, None)
    number = 1.0 if strength is None else float(strength)
    if not path or abs(number) > MOST_STRENGTH:
        raise UserError("tools.share", setting, line=line[:120], most=f"{MOST_STRENGTH:g}")
    return Portion(Path(clean_path(path)), number)
