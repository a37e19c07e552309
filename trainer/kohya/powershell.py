"""PowerShell's quotes within quotes: a doubled one, and one behind a backtick, are letters of the text."""

from __future__ import annotations

import re

IS_POWERSHELL = re.compile(
    r"^[ \t]*(?:\[[\w.]+\][ \t]*)*\$(?:\w+:)?\w+[ \t]*\+?=|[ \t]`[ \t]*\r?$|^[ \t]*param[ \t]*\(",
    re.MULTILINE | re.IGNORECASE,
)
"""What no other shell has: $name = …, a backtick at the end of a line, param( … )."""
QUOTED = re.compile(
    r"""
    <\#.*?(?:\#>|\Z) | (?<!\S)\#[^\n]*                       # comments, where an apostrophe begins nothing
    | @(?P<long>["'])[ \t\r]*\n.*?(?:\n(?P=long)@|\Z)         # a text of several lines
    | '[^']*(?:''[^']*)*(?:'|\Z)
    | "[^"`]*(?:(?:""|`.)[^"`]*)*(?:"|`?\Z)
    | `.
    """,
    re.VERBOSE | re.DOTALL,
)
BLANK = "\ufdd0"
MARKS = {"'": "\ufdd1", '"': "\ufdd2", " ": BLANK}
"""Stand for quotes and blanks that are letters of a word, which no later reading may take for its end."""


def with_marks(text: str) -> str:
    """A script whose quotes within quotes are marks."""
    return QUOTED.sub(_marked, text)


def without_marks(text: str) -> str:
    """A text with its quotes and blanks again."""
    for letter, mark in MARKS.items():
        text = text.replace(mark, letter)
    return text


def as_word(text: str) -> str:
    """A text as one word wherever it is put in; but options in it are words of their own."""
    return text if text.startswith("--") else "".join(MARKS.get(letter, letter) for letter in text)


def _marked(match: re.Match[str]) -> str:
    text, quote = match[0], match[0][0]
    if quote not in "\"'" or len(text) < 2:
        return text
    inside = text[1:-1].replace(quote * 2, MARKS[quote])
    if quote == '"':
        inside = re.sub(r"`([\"'])", lambda escaped: MARKS[escaped[1]], inside)
    return quote + inside + text[-1]
