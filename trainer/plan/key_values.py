"""Extra arguments typed as `key=value key=value`: read, typed, and checked against what is known.

No torch here: the checks run before anything heavy is loaded.
"""

from __future__ import annotations

import ast
import difflib
import math
import re
import shlex
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import zip_longest
from typing import Any

from trainer.errors import UserError
from trainer.problems import repeated


class Unset(Enum):
    """In a table of known arguments: there is no default that would tell what a value must be. This does."""

    TEXT = ""
    NUMBER = "0.9"
    STEPS = "100"
    SWITCH = "True / False"


@dataclass(frozen=True)
class Limits:
    """Where a number, or each of several, must lie."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    """`low` itself is too little."""
    below: bool = False
    """`high` itself is too much."""
    whole: bool = False
    only: tuple[Any, ...] = ()
    """The only values that there are."""

    def hold(self, value: Any) -> bool:
        """Whether a value is allowed; None (the default) and texts are."""
        if value is None or isinstance(value, str):
            return True
        if self.only:
            return value in self.only
        if isinstance(value, (tuple, list)):
            return all(map(self.hold, value))
        low = value > self.low if self.above else value >= self.low
        high = value < self.high if self.below else value <= self.high
        return low and high and (not self.whole or value == int(value))

    def said(self, key: str) -> str:
        """For every language: "0 ≤ betas < 1"."""
        if self.only:
            return f"{key} = {' / '.join(map(str, self.only))}"
        low = f"{self.low:g} {'<' if self.above else '≤'} " if self.low > -math.inf else ""
        high = f" {'<' if self.below else '≤'} {self.high:,g}" if self.high < math.inf else ""
        return f"{low}{key}{high}" + (" (1, 2, 3 …)" if self.whole else "")


LONGEST_ARGUMENTS = 2_000
NO_LIMITS = Limits()


def parse_key_values(text: str, setting: str) -> dict[str, Any]:
    """`weight_decay=0.01 betas=0.9,0.99 "note=two words"` as a dict of Python values.

    Raises UserError for a piece without `=` or with quotes that do not close.
    """
    if len(text) > LONGEST_ARGUMENTS:
        raise UserError("core.argument_long", setting, most=f"{LONGEST_ARGUMENTS:,}")
    try:
        pieces = shlex.split(text)
    except ValueError as error:
        raise UserError("core.argument_quotes", setting, text=text) from error
    values: dict[str, Any] = {}
    for piece in pieces:
        key, equals, value = piece.partition("=")
        if not (key.isidentifier() and equals and value):
            raise UserError("core.argument_shape", setting, piece=piece)
        values[key] = _typed(value)
    return values


def last_of_each(text: str) -> tuple[str, str]:
    """A name that stands more than once in a text, and the text with only the last of each, which counts.

    Blank for none, and for a text that cannot be read.
    """
    try:
        pieces = shlex.split(text)
    except ValueError:
        return "", ""
    names = [piece.partition("=")[0] for piece in pieces]
    last = {name: at for at, name in enumerate(names)}
    kept = [piece for at, piece in enumerate(pieces) if last[names[at]] == at]
    return next(((name, shlex.join(kept)) for name in repeated(names)), ("", ""))


def check_known(
    values: Mapping[str, Any],
    known: Mapping[str, Any],
    setting: str,
    owner: str,
    limits: Mapping[str, Limits] | None = None,
) -> None:
    """Refuse names that `owner` does not have, values of another type, and values outside their limits.

    `known` maps each argument to its default. Raises UserError; a near name is offered.
    """
    for key, value in values.items():
        if key not in known:
            raise _unknown(key, known, setting, owner)
        wanted = _kind(known[key])
        if not _fits(value, known[key]):
            raise UserError("core.argument_type", setting, key=key, value=_shown(value), wanted=wanted)
        allowed = (limits or {}).get(key, NO_LIMITS)
        if not allowed.hold(value):
            said = {"key": key, "value": _shown(value), "owner": owner, "limits": allowed.said(key)}
            raise UserError("core.argument_range", setting, **said)


def _unknown(key: str, known: Mapping[str, Any], setting: str, owner: str) -> UserError:
    if not known:
        return UserError("core.argument_none", setting, key=key, owner=owner)
    near = difflib.get_close_matches(key, known, n=1)
    values = {"key": key, "owner": owner, "known": list(known)}
    if near:
        return UserError("core.argument_unknown_near", setting, **values, near=near[0])
    return UserError("core.argument_unknown", setting, **values)


def _typed(value: str) -> Any:
    """A number, True/False/None, tuple or list; else the text itself."""
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # the last two: thousands of brackets
        lowered = value.lower()
        return {"true": True, "false": False, "none": None}.get(lowered, value)


def _shown(value: Any) -> str:
    """As it was typed: 0.9,1.5."""
    text = ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _kind(default: Any) -> str:
    """What a value must be, in words for a message."""
    if isinstance(default, Unset):
        return default.value
    if isinstance(default, bool):
        return "True / False"
    if isinstance(default, int):
        return "10"
    return "0.01" if isinstance(default, float) else ",".join(f"{number:g}" for number in default)


def _fits(value: Any, default: Any) -> bool:
    if isinstance(default, Unset) and (value is None or default is Unset.TEXT):
        return True
    if default is Unset.SWITCH or isinstance(default, bool):
        return isinstance(value, bool)
    if default in (Unset.NUMBER, Unset.STEPS) or isinstance(default, (int, float)):
        return _is_number(value) and (math.isfinite(value) or default == math.inf)
    numbers = isinstance(value, (tuple, list)) and all(map(_is_number, value))
    return numbers and len(value) == len(default) and all(map(math.isfinite, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 10**300


KEY_PATTERN = re.compile(r"""(?:^|[\s,;{(\["'-])([A-Za-z_]\w*)["']?\s*(?:[=:]|\s(?=[-+.\d(\[]))\s*""")
DASH_TABLE = str.maketrans("−‐‑–—ー、；", "------,;")


def rewritten(text: str) -> str:
    """Arguments written in another way, in ours; "" where no names are found.

    Commas or semicolons between them, blanks around "=", {"key": value}, --key value, full-width letters.
    """
    plain = unicodedata.normalize("NFKC", text).translate(DASH_TABLE)
    found = list(KEY_PATTERN.finditer(plain))
    pairs = []
    for match, after in zip_longest(found, found[1:]):
        end = after.start() if after else len(plain)
        value = re.sub(r"[\s\"'()\[\]{}]", "", plain[match.end() : end])
        pairs.append(f"{match[1]}={value.lstrip(',;').rstrip(',;-')}")
    return " ".join(pairs)
