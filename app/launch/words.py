"""The launcher's sentences, in the person's language. Standard library only."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

TEXTS = Path(__file__).parent.parent / "texts"


class SetupError(Exception):
    """Something the person can mend; `code` names the sentences in texts/launcher, `values` fill them."""

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(code)
        self.code, self.values = code, values

    def __str__(self) -> str:
        return say(self.code, **self.values)


def language(environment: Mapping[str, str] = os.environ) -> str:
    """The person's language: "ja" or "en"."""
    if sys.platform == "win32":
        import ctypes

        return "ja" if ctypes.windll.kernel32.GetUserDefaultUILanguage() & 0x3FF == 0x11 else "en"
    chosen = [environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)]
    return "ja" if chosen and chosen[0].startswith("ja") else "en"


@cache
def messages(name: str) -> dict[str, dict[str, str]]:
    """All messages in one language."""
    return json.loads((TEXTS / f"launcher.{name}.json").read_text(encoding="utf-8"))["messages"]


def say(code: str, **values: object) -> str:
    """What, why and how to mend it, each on its line; parts that come out empty are left out."""
    parts = messages(language())[code]
    lines = (parts[name].format_map(values).strip() for name in ("what", "why", "fix") if name in parts)
    return "\n      ".join(line for line in lines if line)
