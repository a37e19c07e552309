"""Scripts around a training command (sh, cmd, PowerShell): comments, statements and their variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

TRAINS = re.compile(r"(?:^|[\s\"'/\\])(?:train_\w+|\w+_train\w*)\.py\b")
COMMENT = re.compile(r"\s*(?:#|::|@?rem(?:\s|$))", re.IGNORECASE)
CONTINUED = re.compile(r"[ \t]*[\\^`][ \t]*$")
TALKS = re.compile(r"\s*@?(?:echo|printf|write-host|ls|dir|cat|type|test|if|\[+)\b", re.IGNORECASE)
"""Statements that name a script without running it."""
NAME = r"[A-Za-z_]\w*"
ASSIGNED = (
    re.compile(rf"\s*(?:(?:export|local|readonly|declare)\s+)?({NAME})(\+?=)(.*)", re.DOTALL),
    re.compile(rf"\s*@?set\s+(?:/a\s+)?\"?({NAME})(=)(.*?)\"?\s*", re.DOTALL | re.IGNORECASE),
    re.compile(rf"\s*\$(?:env:)?({NAME})\s*(\+?=)(.*)", re.DOTALL | re.IGNORECASE),
)
"""NAME=value, set NAME=value, $NAME = value."""
VARIABLE = re.compile(
    rf"\"\$\{{({NAME})\[@\]\}}\"|\$\{{({NAME})(?:\[[@*]\])?(?::?-([^}}]*))?\}}|\$env:({NAME})|[$@]({NAME})"
    rf"|%({NAME})%|!({NAME})!"
)
UNKNOWN = re.compile(rf"\$\{{?{NAME}|\$\(|\$env:|%{NAME}%|!{NAME}!|`[^`]+`")
"""A variable or another command's words, wherever in a value."""


@dataclass(frozen=True)
class Script:
    """The first training command of a script, as one line, and how many more there are."""

    command: str
    more: int = 0


def read_script(text: str) -> Script:
    """The command that trains; the whole text where there is none of that kind."""
    known: dict[str, str] = {}
    commands: list[str] = []
    statements = list(_statements(text))
    for statement in statements:
        if TRAINS.search(statement) and not TALKS.match(statement):
            commands.append(_filled_in(statement, known))
        elif assigned := _assignment(statement):
            name, value, adds = assigned
            value = _filled_in(value, known)
            known[name] = f"{known[name]} {value}" if adds and name in known else value
    if not commands:
        return Script(_filled_in(" ".join(statements), known))
    return Script(commands[0], len(commands) - 1)


def _assignment(statement: str) -> tuple[str, str, bool] | None:
    """Name, value without its quotes, and whether it is added to what was there."""
    for pattern in ASSIGNED:
        if found := pattern.fullmatch(statement):
            value = found[3].strip()
            if value[:1] + value[-1:] in {"()", '""', "''"} and len(value) > 1:
                value = value[1:-1]
            elif value.startswith("@(") and value.endswith(")"):
                value = value[2:-1]
            return found[1].lower(), " ".join(value.split()), found[2] == "+="
    return None


def _filled_in(text: str, known: Mapping[str, str]) -> str:
    """A text with the variables that are known put in; what stands in single quotes stays."""

    def value(found: re.Match[str]) -> str:
        names = [found[1], found[2], *found.groups()[3:]]
        name = next(one for one in names if one)
        default = found[3]
        return known.get(name.lower(), found[0] if default is None else default)

    parts = re.split(r"('[^']*')", text)
    return "".join(part if part.startswith("'") else VARIABLE.sub(value, part) for part in parts)


def _statements(text: str) -> Iterator[str]:
    """The statements, each on one line, without comments and without what stands behind them."""
    for line in _lines(re.sub(r"<#.*?#>", " ", text, flags=re.DOTALL)):
        yield from _divided(line)


def _lines(text: str) -> Iterator[str]:
    """Lines with their continuations; a list in brackets is one line."""
    whole = ""
    for raw in text.splitlines():
        if COMMENT.match(raw):
            if not CONTINUED.search(raw) and whole and not _is_open(whole):
                yield whole
                whole = ""
            continue
        line = _without_comment(raw)
        continued = CONTINUED.search(line)
        whole += f" {line[: continued.start()] if continued else line}"
        if not continued and not _is_open(whole):
            yield whole
            whole = ""
    if whole.strip():
        yield whole


def _is_open(line: str) -> bool:
    """Whether a list in brackets, NAME=( …, goes on."""
    begun = re.match(rf"\s*(?:\$?{NAME}\s*\+?=\s*@?)\(", line)
    return bool(begun) and line.count("(") > line.count(")")


def _without_comment(line: str) -> str:
    """A line without a comment at its end: a blank and # outside of quotes."""
    for at, _ in _outside_quotes(line):
        if line[at] == "#" and line[at - 1 : at].isspace():
            return line[:at].rstrip()
    return line.rstrip()


def _divided(line: str) -> Iterator[str]:
    """The statements of a line: ; && || | & end one, and so does a redirection."""
    start, end = 0, None
    skip = -1
    for at, depth in _outside_quotes(line):
        char = line[at]
        if at <= skip or depth:
            continue
        if char in ";|&" and line[at - 1 : at] != "^":
            yield line[start : at if end is None else end].strip()
            skip = at + (line[at + 1 : at + 2] == char)
            start, end = skip + 1, None
        elif char in "<>" and end is None and line[at - 1 : at] not in "^=":
            digits = re.search(r"\s[12&]?$", line[start:at])
            end = start + digits.start() if digits else at
            skip = at + (line[at + 1 : at + 2] == "&") + (line[at + 1 : at + 2] == ">")
    yield line[start:end].strip()


def _outside_quotes(line: str) -> Iterator[tuple[int, int]]:
    """Places outside of quotes, with how many brackets are open there."""
    quote, depth = "", 0
    for at, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char == '"' or (char == "'" and not line[at - 1 : at].isalnum()):
            quote = char
        else:
            depth += (char == "(") - (char == ")" and depth > 0)
            yield at, depth
