"""Extra arguments typed as `key=value key=value`: read, typed, and checked against what is known.

No torch here: the checks run before anything heavy is loaded.
"""

from __future__ import annotations

import ast
import difflib
import shlex
from collections.abc import Mapping
from typing import Any

from trainer.errors import UserError

NO_DEFAULT = object()
"""In a table of known arguments: there is no default that would tell the type."""


def parse_key_values(text: str, setting: str) -> dict[str, Any]:
    """`weight_decay=0.01 betas=0.9,0.99 "note=two words"` as a dict of Python values.

    Raises UserError for a piece without `=` or with quotes that do not close.
    """
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


def check_known(values: Mapping[str, Any], known: Mapping[str, Any], setting: str, owner: str) -> None:
    """Refuse names that `owner` does not have, and values that are clearly of another type.

    `known` maps each argument to its default. Raises UserError; a near name is offered.
    """
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            code = "core.argument_unknown_near" if near else "core.argument_unknown"
            raise UserError(
                code, setting, key=key, owner=owner, near=near[0] if near else "", known=", ".join(known)
            )
        wanted = _kind(known[key])
        if wanted and not _fits(value, known[key]):
            raise UserError("core.argument_type", setting, key=key, value=repr(value), wanted=wanted)


def _typed(value: str) -> Any:
    """A number, True/False/None, tuple or list; else the text itself."""
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        lowered = value.lower()
        return {"true": True, "false": False, "none": None}.get(lowered, value)


def _kind(default: Any) -> str:
    """What a value must be, in words for a message; blank where the default does not tell."""
    if isinstance(default, bool):
        return "True / False"
    if isinstance(default, (int, float)):
        return "0.01"
    return "0.9,0.999" if isinstance(default, (tuple, list)) else ""


def _fits(value: Any, default: Any) -> bool:
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, (int, float)):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    numbers = isinstance(value, (tuple, list)) and all(isinstance(item, (int, float)) for item in value)
    return numbers and len(value) == len(default)
