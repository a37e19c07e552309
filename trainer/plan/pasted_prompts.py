"""Sample prompts that were pasted as other pages write them beneath a picture (AUTOMATIC1111, Civitai).

There a prompt is followed by a line "Negative prompt: …" and one "Steps: 20, Sampler: Euler a, Seed: 7 …",
which here would each be drawn as a prompt of its own.
"""

from __future__ import annotations

import re

NEGATIVE = re.compile(r"\s*negative prompt:\s*(.*)", re.IGNORECASE)
ENTRIES = re.compile(r"\s*steps:\s*\d+\s*,.*", re.IGNORECASE)
ENTRY = re.compile(r"(steps|cfg scale|seed|size):\s*([\d.]+)(?:x(\d+))?", re.IGNORECASE)
LETTERS = {"steps": "s", "cfg scale": "l", "seed": "d", "size": "w"}


def is_pasted(line: str) -> bool:
    """Whether a line belongs to the prompt above it on such a page."""
    return bool(NEGATIVE.match(line) or ENTRIES.match(line))


def as_lines(text: str) -> str:
    """Each prompt with what belongs to it in one line, as options of this program."""
    lines: list[str] = []
    for line in text.splitlines():
        if not is_pasted(line) or not any(map(str.strip, lines)):
            lines.append(line)
        else:
            while not lines[-1].strip():
                lines.pop()
            lines[-1] = lines[-1].rstrip() + _options(line)
    return "\n".join(lines)


def _options(line: str) -> str:
    if negative := NEGATIVE.match(line):
        words = " ".join(negative[1].split())
        return f" --n {words}" if words else ""
    found = [(LETTERS[name.lower()], value, height) for name, value, height in ENTRY.findall(line)]
    return "".join(
        f" --{letter} {value}" + (f" --h {height}" if height else "") for letter, value, height in found
    )
