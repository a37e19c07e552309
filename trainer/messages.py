"""What the program says to people, in their language.

A `Message` is a code and its values; the sentences stand in texts/<topic>.en.json and .ja.json under
`messages`, each with `what` and, where there is more to say, `why` and `fix`. The trainer emits codes,
so that a running job can be read in either language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal
from unicodedata import category

Language = Literal["en", "ja"]
LANGUAGES: tuple[Language, ...] = ("en", "ja")


@dataclass(frozen=True)
class Message:
    """A sentence to be said: its code in the texts, and the values that fill it."""

    code: str
    values: Mapping[str, Any] = field(default_factory=dict)


SENTENCE_ENDS = (".", "!", "?", ":", "…", "。", "！", "？", "：", ")", "）")
"""How a sentence may end."""


@dataclass(frozen=True)
class Said:
    """A message in words. `why` and `fix` may be empty."""

    what: str
    why: str = ""
    fix: str = ""

    stop: str = "."
    """Ends a sentence in this language."""

    def __str__(self) -> str:
        """All parts on one line; one that ends in a name or a reason gets the stop it lacks."""
        parts = [part for part in (self.what, self.why, self.fix) if part]
        ended = [part if part.endswith(SENTENCE_ENDS) else part + self.stop for part in parts[:-1]]
        return "".join([*(part + ("" if part.endswith("。") else " ") for part in ended), *parts[-1:]])


STEERING = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
"""Kinds of signs that steer a terminal, or that nobody sees."""
HARMLESS = "\n\t\u200d"
"""Those of them that texts need; emoji are put together with the last."""


def printable(text: str) -> str:
    """Without what steers a terminal: captions, paths and what files say of themselves come from anywhere."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if category(sign) in STEERING and sign not in HARMLESS else sign
        for sign in text
    )


@cache
def texts(language: Language, folder: Path = Path(__file__).parent / "texts") -> dict[str, Any]:
    """All texts in one language, merged from every <topic>.<language>.json of a folder.

    trainer/texts has `messages`, `settings` (help), `groups` and `choices`; app/texts the page's words.
    """
    merged: dict[str, Any] = {}
    for path in sorted(folder.glob(f"*.{language}.json")):
        for kind, entries in json.loads(path.read_text(encoding="utf-8")).items():
            merged.setdefault(kind, {}).update(entries)
    return merged


ONE = re.compile(
    r"(?<![\d.,/×-])1 "
    r"(caption files|captions|pictures|files|folders|options|remarks|caches|epochs|steps|times)\b"
    r"(?: (are|were|have|become|lose|belong|do)\b)?"
)
ONE_OF = re.compile(r"(?<![\d.,/×-])(1 of [\d,]+ pictures) are\b")
VERBS = {
    "are": "is",
    "were": "was",
    "have": "has",
    "become": "becomes",
    "lose": "loses",
    "belong": "belongs",
    "do": "does",
}


def _singular(found: re.Match[str]) -> str:
    """ "1 pictures are" as "1 picture is"."""
    return f"1 {found[1][:-1]}" + (f" {VERBS[found[2]]}" if found[2] else "")


def say(message: Message, language: Language = "en") -> Said:
    """The message in words, and messages among its values. KeyError for a code that the texts lack.

    Several names in one value are a list of strings, or of messages as events hold them: {"code", "values"}.
    """
    parts = texts(language)["messages"][message.code]
    values = {name: in_words(value, language) for name, value in message.values.items()}
    filled = {name: str(text).format_map(values) for name, text in parts.items()}
    if language == "en":
        filled = {name: ONE_OF.sub(r"\1 is", ONE.sub(_singular, text)) for name, text in filled.items()}
    return Said(**filled, stop="。" if language == "ja" else ".")


def in_words(value: Any, language: Language) -> Any:
    """Messages in words, several of them or of names one after the other; any other value as it is."""
    if isinstance(value, Message):
        return say(value, language).what
    if not isinstance(value, (list, tuple)):
        return value
    if all(isinstance(one, str) for one in value):
        return comma(language).join(value)
    if not all(_is_message(one) for one in value):
        return value
    said = (say(Message(one["code"], one.get("values", {})), language).what for one in value)
    return comma(language).join(said)


def comma(language: Language) -> str:
    """Between the parts of a list."""
    return "、" if language == "ja" else ", "


def _is_message(value: Any) -> bool:
    """Whether plain data is a message: a value from a foreign file may have any form."""
    code = value.get("code") if isinstance(value, Mapping) else None
    return isinstance(code, str) and code in texts("en")["messages"]
