"""The statements of a script (sh, cmd, PowerShell, a notebook's cell): without comments, each on one line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainer.kohya.powershell import without_marks

LONGEST_LINE = 10_000
"""Characters of a line that is looked at for commands within commands."""
NAME = r"[A-Za-z_]\w*"
COMMENT = re.compile(r"\s*(?:#|::|@?rem(?:\s|$))", re.IGNORECASE)
CONTINUES = ("\\", "^", "`")
"""At the end of a line that the next one goes on with."""
HERE_TEXT = re.compile(r"<<-?\s*([\"']?)(\w+)\1")
"""A text within the script that ends at a line with this word; <<< is none."""
TO_SHELL = re.compile(r"\b(?:(?:ba|z|da|k)?sh|sbatch|qsub|ssh|su)(?:\s[^<>|]*)?<<-?\s*[\"']?\w")
"""A text within the script that another shell is given to run."""
DEEPEST_SHELL = 3
"""Shells within shells that are read."""
TARGET = re.compile(r">\s*\"?([^\s\"<>|&]+)|\btee\s+\"?([^\s\"<>|&-]+)")
"""The file that such a text is written to."""
WITHIN = re.compile(
    r"\b(?:cmd(?:\.exe)?\s+/[ck]|(?:ba|z|da)?sh\s+-\w*c|(?:powershell|pwsh)(?:\.exe)?\s.*?-c(?:ommand)?)\s+"
    r"([\"'])(.*)\1\s*$",
    re.IGNORECASE,
)
"""A command that another shell is given as one word."""
TEXT_BEGINS = re.compile(rf"\s*(?:(?:export|local)\s+)?\$?{NAME}\s*\+?=\s*\"")
HANDS_OVER = re.compile(
    r"\s*@?(?:sudo\s+)?(?:tmux|screen|ssh|wsl|su|script|eval|iex|invoke-expression|start-process|docker|podman"
    r"|xterm|konsole|gnome-terminal)\b",
    re.IGNORECASE,
)
"""Programs that start a command which stands in quotes somewhere behind them."""
DECORATION = re.compile(
    r"^[ \t]*(?:\([\w.-]+\)[ \t]*)?(?:PS[ \t]+)?[A-Za-z]:\\[^<>|&\"\n]{0,300}>[ \t]*(?=\S)"
    r"|```\w*|(?<=\s)`#[^`\n]{0,300}`",
    re.MULTILINE,
)
"""What is copied along with a command: prompts (PS C:\\>), fences of Markdown; and comments within a line."""
ARM = re.compile(r"\(\s*[^\s()|]+(?:\s*\|\s*[^\s()|]+)*\s*\)")
"""The patterns of a case's arm, alone on their line: no shell of its own has words without arguments only."""
LONG_NOTHING = re.compile(r"\s*:\s+([\"'])")
"""sh's command that does nothing, with a text of several lines: a comment."""


def statements(text: str, written: dict[str, str]) -> Iterator[str]:
    """The statements in order; `written` is filled with the files that the script writes itself."""
    text = DECORATION.sub(lambda match: "\n" if match[0].startswith("```") else "", _without_blocks(text))
    for line in _lines(_without_texts(text.splitlines(), written)):
        yield from divided(line)


def divided(line: str) -> Iterator[str]:
    """The statements of a line: ; && || | & end one, and so does a redirection."""
    if len(line) < LONGEST_LINE and (inner := WITHIN.search(line)):
        yield from divided(without_marks(inner[2].replace('\\"', '"')))
        return
    if len(line) < LONGEST_LINE and HANDS_OVER.match(line) and (quoted := _quoted_command(line)):
        yield from divided(without_marks(quoted))
        return
    stripped = line.strip()
    if len(line) < LONGEST_LINE and ARM.fullmatch(stripped):
        yield stripped
        return
    if stripped.startswith("(") and stripped.endswith(")"):  # a shell of its own
        line = stripped[1:-1]
    start, end = 0, None
    skip = -1
    for at, depth in _outside_quotes(line):
        char = line[at]
        if at <= skip or depth:
            continue
        if char in ";|&" and line[at - 1 : at] != "^":
            yield from _opened(line[start : at if end is None else end].strip())
            skip = at + (line[at + 1 : at + 2] == char)
            start, end = skip + 1, None
        elif char in "<>" and end is None and line[at - 1 : at] not in "^=":
            digits = re.search(r"\s[\d&*]?$", line[start:at])
            end = start + digits.start() if digits else at
            skip = at + (line[at + 1 : at + 2] == "&") + (line[at + 1 : at + 2] == ">")
    yield from _opened(line[start:end].strip())


def _opened(part: str) -> Iterator[str]:
    """A part, or the statements of a shell of its own."""
    if part.startswith("(") and part.endswith(")"):
        yield from divided(part)
    else:
        yield part


def _quoted_command(line: str) -> str:
    """The command in quotes that trains; "" for none."""
    quoted = (match[1] or match[2] for match in re.finditer(r"\"([^\"]*)\"|'([^']*)'", line))
    return next((text for text in quoted if text and re.search(r"\.py\b.*\s--", text, re.DOTALL)), "")


def _without_blocks(text: str) -> str:
    """A text without PowerShell's comments of several lines, <# … #>."""
    first, *parts = text.split("<#")
    return " ".join([first, *(part.partition("#>")[2] for part in parts)])


def _without_texts(lines: list[str], written: dict[str, str], depth: int = 0) -> Iterator[str]:
    """Lines without the texts that stand within the script; those that go to a file are kept."""
    waiting = iter(lines)
    for line in waiting:
        begun = None if COMMENT.match(line) or "<<<" in line else HERE_TEXT.search(line)
        if long := re.search(r"@([\"'])[ \t]*$", line):  # PowerShell
            for inner in waiting:
                if inner.startswith(f"{long[1]}@"):
                    break
        elif (nothing := LONG_NOTHING.match(line)) and line.count(nothing[1]) % 2:
            for inner in waiting:
                if nothing[1] in inner:
                    break
        elif begun:
            inside: list[str] = []
            for inner in waiting:
                if inner.strip() == begun[2]:
                    break
                inside.append(inner)
            if depth < DEEPEST_SHELL and TO_SHELL.search(line[:LONGEST_LINE]) and not TARGET.search(line):
                yield from _without_texts(inside, written, depth + 1)
            elif target := TARGET.search(line):
                written[target[1] or target[2]] = "\n".join(inside)
        else:
            yield line


def _lines(raw_lines: Iterator[str]) -> Iterator[str]:
    """Lines with their continuations; a list in brackets and a text of several lines are one line."""
    whole = ""
    for raw in raw_lines:
        if COMMENT.match(raw):
            if not raw.rstrip().endswith(CONTINUES) and whole and not _is_open(whole):
                yield whole
                whole = ""
            continue
        line = _without_comment(raw)
        continued = line.endswith(CONTINUES)
        whole += f" {line[:-1].rstrip() if continued else line}"
        if not continued and not _is_open(whole):
            yield whole
            whole = ""
    if whole.strip():
        yield whole


def _is_open(line: str) -> bool:
    """Whether a list in brackets, NAME=( …, or a text behind an option goes on."""
    has_text = "--" in line or TEXT_BEGINS.match(line)
    if has_text and line.replace('\\"', "").count('"') % 2 and not re.search(r'\\"(?:\s|$)', line):
        return True
    begun = re.match(rf"\s*(?:\$?{NAME}\s*\+?=\s*@?)\(", line)
    return bool(begun) and line.count("(") > line.count(")")


def _without_comment(line: str) -> str:
    """A line without a comment at its end: a blank and # outside of quotes."""
    for at, _ in _outside_quotes(line):
        if line[at] == "#" and line[at - 1 : at].isspace():
            return line[:at].rstrip()
    return line.rstrip()


def _outside_quotes(line: str) -> Iterator[tuple[int, int]]:
    """Places outside of quotes, with how many brackets are open there."""
    quote, depth = "", 0
    tests = bool(re.match(r"\s*(?:el)?if\s+\[", line))
    for at, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char == '"' or (char == "'" and not line[at - 1 : at].isalnum()):
            quote = char
        else:
            opens, closes = ("([", ")]") if tests else ("(", ")")
            depth += (char in opens) - (char in closes and depth > 0)
            yield at, depth
