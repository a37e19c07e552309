"""Takes secrets out of what is about to be written: events, the log, a terminal's lines."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any, TextIO, TypeVar

from trainer.files.secrets import VARIABLES, known_secrets

HIDDEN = "[hidden]"
SHORTEST_SECRET = 6
"""Shorter values would take ordinary words out of every sentence."""
TOKEN_PATTERN = re.compile(r"\bhf_[A-Za-z0-9]{16,}\b|(?<=://)[^/\s:@]+:[^/\s:@]+(?=@)")
"""Tokens of the hub and passwords in addresses, whoever's they are."""
Any_ = TypeVar("Any_")


def secret_values() -> tuple[str, ...]:
    """Values to hide, the longest first."""
    names = [name for group in VARIABLES.values() for name in group]
    values = {*known_secrets().values(), *(os.environ.get(name, "").strip() for name in names)}
    return tuple(sorted((value for value in values if len(value) >= SHORTEST_SECRET), key=len, reverse=True))


def redacted(value: Any_, secrets: Iterable[str] | None = None) -> Any_:
    """The same text, mapping, list or event without secrets."""
    return _redacted(value, tuple(secret_values() if secrets is None else secrets))


def _redacted(value: Any, secrets: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, HIDDEN)
        return TOKEN_PATTERN.sub(HIDDEN, value)
    if isinstance(value, dict):
        return {key: _redacted(inner, secrets) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_redacted(inner, secrets) for inner in value)
    if hasattr(value, "__dataclass_fields__"):
        texts = {part.name: getattr(value, part.name) for part in fields(value)}
        return replace(value, **{name: _redacted(text, secrets) for name, text in texts.items()})
    return value


class RedactedStream(io.TextIOBase):
    """A text stream that leaves secrets out; libraries print to it unaware.

    What cannot be written (a full disk, a terminal that is gone) is lost and ends no run.
    """

    def __init__(self, stream: TextIO, secrets: tuple[str, ...]) -> None:
        self._stream = stream
        self._secrets = secrets

    def write(self, text: str) -> int:
        """Write the text without secrets."""
        with suppress(OSError, ValueError):
            self._stream.write(_redacted(text, self._secrets))
        return len(text)

    def flush(self) -> None:
        """Pass on."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Of the stream behind."""
        return self._stream.fileno()


def redact_streams() -> None:
    """From now on nothing secret is printed by Python code of this process."""
    secrets = secret_values()
    sys.stdout, sys.stderr = RedactedStream(sys.stdout, secrets), RedactedStream(sys.stderr, secrets)
