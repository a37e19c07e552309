"""Every sentence the core can say exists in both languages, and fills with the values it is given."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from trainer.messages import LANGUAGES, texts

TRAINER = Path(__file__).parents[2] / "trainer"
USED = {
    code
    for path in TRAINER.rglob("*.py")
    for code in re.findall(r'"(core\.[a-z0-9_]+)"', path.read_text(encoding="utf-8"))
}
WRITTEN = {code for code in texts("en")["messages"] if code.startswith("core.")}


def test_what_is_said_is_written_and_what_is_written_is_said() -> None:
    assert USED == WRITTEN


@pytest.mark.parametrize("code", sorted(WRITTEN))
def test_both_languages_use_the_same_values(code: str) -> None:
    def fields(language: str) -> set[str | None]:
        parts = texts(language)["messages"][code].values()  # pyright: ignore[reportArgumentType]  # out of JSON
        return {name for part in parts for _, name, _, _ in string.Formatter().parse(part) if name}

    english, japanese = (fields(language) for language in LANGUAGES)
    assert english == japanese
