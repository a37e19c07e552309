"""Every sentence of an import stands in both languages, and every code in the source has one."""

from __future__ import annotations

import re
import string
from pathlib import Path
from typing import get_args

import pytest

from trainer.kohya import read, report_lines
from trainer.kohya.report import KINDS, Source
from trainer.messages import LANGUAGES, Language, texts

ROOT = Path(__file__).parents[3]
BUILT = {
    *(f"kohya.{part}_{kind}" for part in ("line", "title") for kind in KINDS),
    *(f"kohya.source_{name}" for name in get_args(Source)),
}
"""Codes that are put together at run time."""


def codes() -> set[str]:
    """Codes that the source names."""
    files = [path for room in ("trainer", "app") for path in (ROOT / room).rglob("*.py")]
    source = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return set(re.findall(r'"(kohya\.[a-z0-9_]+)"', source)) | BUILT


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_code_has_its_sentence(language: Language) -> None:
    known = {code for code in texts(language)["messages"] if code.startswith("kohya.")}
    assert known == codes()


@pytest.mark.parametrize("code", sorted(codes()))
def test_both_languages_use_the_same_values(code: str) -> None:
    fields = []
    for language in LANGUAGES:
        said = texts(language)["messages"][code]
        fields.append(
            {
                name: {field for _, field, _, _ in string.Formatter().parse(said[name]) if field}
                for name in said
            }
        )
    assert fields[0] == fields[1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_report_in_words(language: Language) -> None:
    report = read(
        {"LoRA_type": "LyCORIS/LoKr", "network_dim": "x", "optimizer": "AdamW", "from_elsewhere": 1}
    ).report
    lines = report_lines(report, language)
    words = texts(language)["messages"]
    assert words["kohya.title_attention"]["what"] in lines
    assert "  " + words["kohya.not_a_number"]["what"] in lines
    assert "from_elsewhere: 1" in lines
    assert any("kohya_ss v26" in line for line in lines[:1])
