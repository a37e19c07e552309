"""Scripts around a training command (sh, cmd, PowerShell, a notebook's cell): what of them counts, with
their variables put in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from trainer.kohya.powershell import IS_POWERSHELL, as_word, with_marks, without_marks
from trainer.kohya.script_blocks import ScriptBlocks, holds_true
from trainer.kohya.script_lines import NAME, statements

TRAINS = re.compile(r"(?:^|[\s\"'/\\])(?:train_\w+|\w+_train\w*)\.py\b")
TALKS = re.compile(r"\s*@?(?:echo|printf|write-host|ls|dir|cat|type|test|\[+)\b", re.IGNORECASE)
RUNS = re.compile(rf"{TRAINS.pattern}[\"']?(?=\s)")
OPTION_BEGINS = re.compile(r"--|[—–‐−]\w|[$%!@{]\w|[$@%]\{")
"""Or variables that may hold some."""
WORD = r"(?:\"(?:[^\"\\]|\\.)*\"|'[^']*'|\$\([^()]*\)|\\.|(?!\$\()[^\s\"'\\])*"
SH = re.compile(rf"\s*({NAME})(\+?=)(\([^()]*\)(?=\s|$)|{WORD})(?=\s|$)", re.DOTALL)
SH_DECLARES = re.compile(r"\s*(?:export|local|readonly|declare|typeset)\s+(?:-\w+\s+)*")
SET_IN_CMD = re.compile(
    rf"\s*@?set\s+(?:/a\s+)?(?:\"(?P<quoted>{NAME})=(?P<inside>.*?)\"|(?P<name>{NAME})=(?P<value>.*?))\s*",
    re.DOTALL | re.IGNORECASE,
)
POWERSHELL = re.compile(
    rf"\s*(?:\[[\w.]+\])*\$(?:env:|script:|global:)?({NAME})\s*(\+?=)\s*(.*)", re.DOTALL | re.IGNORECASE
)
ADDED = re.compile(
    rf"\s*(?:\[void\]\s*)?\$({NAME})\.(?:Add|AddRange|Append)\((.*)\)", re.DOTALL | re.IGNORECASE
)
PYTHON = re.compile(rf"({NAME})\s*(=)\s*(.+)", re.DOTALL)
"""In the cell of a notebook."""
INLINE = re.compile(r"if\s*\((.*?)\)\s*\{(.*?)\}\s*else\s*\{(.*?)\}", re.IGNORECASE | re.DOTALL)
A_TEXT = r"(?:\"[^\"]*\"|'[^']*')"
ONE_TEXT = re.compile(rf"{A_TEXT}(?:\s*\+\s*{A_TEXT})*\s*,?")
"""Of PowerShell: no list, and no number."""
GOTO = re.compile(r"@?goto\s+:?(\w+)", re.IGNORECASE)
EMPTY_VALUE = re.compile(r"@?\(\s*\)|\[[\w.\[\]]*\]::new\(\)|new-object\s+.*|\$null|\$false", re.IGNORECASE)
VARIABLE = re.compile(
    rf"\"\$\{{({NAME})\[@\]\}}\"|\$\{{({NAME}|\d)(?:\[[@*]\])?(?::?[-=]([^}}\n]{{0,300}}))?\}}|\$env:({NAME})|[$@]({NAME})"
    rf"|%({NAME})%|!({NAME})!|\$\(\$({NAME})\)"
)
NOTEBOOK_PLACE = re.compile(rf"(?<![$\{{])\{{({NAME})\}}(?!\}})")
"""In the cell of a notebook."""
UNKNOWN = re.compile(
    rf"\$\{{?(?:{NAME}|[\d@*#])|\$\(|\$env:|%{NAME}(?::[^%]*)?%|!{NAME}(?::[^!]*)?!|`[^`]+`"
    rf"|%~[a-z]*\d|%%~?[a-z]*[A-Za-z]|^%[\d*]$|\{{{NAME}\}}"
)
"""A variable or another command's words, wherever in a value."""


@dataclass(frozen=True)
class Script:
    """The first training command of a script, as one line, and what else there is."""

    command: str
    more: int = 0
    """Further training commands."""
    only_if: str = ""
    """What must hold for this command to run and not another one, where only the script knew it."""
    asked: tuple[str, ...] = ()
    """What had to hold for values of the command to count, where only the script knew it."""
    written: Mapping[str, str] = field(default_factory=dict)
    """Files that the script writes itself."""


def read_script(text: str, *, powershell: bool = False, whole: bool = True) -> Script:
    """The command that trains; the whole text where there is none of that kind.

    `powershell`: whether that is known; else the text shows it. `whole`: it may write the script that trains.
    In the command, quotes that are letters are marks (of trainer.kohya.powershell).
    """
    if powershell or IS_POWERSHELL.search(text):
        text = with_marks(text)
    written: dict[str, str] = {}
    reading = _Reading(in_notebook=bool(re.search(r"^\s*!", text, re.MULTILINE)))
    waiting = list(statements(text, written))
    for statement in waiting:
        if reading.leaps(statement):
            continue
        for simple in reading.blocks.counting(statement, reading.filled):
            reading.take(simple)
        if reading.leap:
            reading.blocks.leave()
    if not reading.commands:
        # It may write the script that trains.
        inner = next((text for text in written.values() if RUNS.search(text)), "") if whole else ""
        if inner:
            return replace(read_script(reading.filled(inner), whole=False), written=written)
        return Script(reading.filled(" ".join(waiting)), written=written)
    command, only_if, questions = reading.commands[0]
    more = len(reading.commands) - 1 + sum(map(_trains, reading.blocks.passed)) + reading.leapt
    asked = tuple(map(without_marks, questions))
    return Script(command, more, without_marks(only_if) if more else "", asked, written)


class _Reading:
    """Variables and commands, as the statements come."""

    def __init__(self, *, in_notebook: bool) -> None:
        self.in_notebook = in_notebook
        self.blocks = ScriptBlocks()
        self.known = {"true": "True", "false": ""}
        self.asked: dict[str, str] = {}
        """Of variables: what had to hold for their values."""
        self.commands: list[tuple[str, str, tuple[str, ...]]] = []
        """Each with what must hold for it to run, and for its values."""
        self.leap = ""
        """cmd's goto: the label that the script goes on at."""
        self.not_leapt = ""
        """What must not hold, or the script had gone to another label."""
        self.leapt = 0
        """Training commands that it may have gone to."""

    def leaps(self, statement: str) -> bool:
        """Whether the script leaps over a statement."""
        if self.leap:
            self.leap = "" if statement.lower() == f":{self.leap}" else self.leap
            self.leapt += bool(self.not_leapt) and _trains(self.filled(statement))
            return True
        jump = GOTO.fullmatch(statement)
        if jump is None or not self.blocks.is_plain:
            return False
        self.leap = jump[1].lower()
        return True

    def take(self, statement: str) -> None:
        """A simple statement that counts."""
        if jump := GOTO.fullmatch(statement):
            if self.blocks.unsure:
                self.not_leapt = self.not_leapt or f"not ({self.blocks.unsure})"
            else:
                self.leap = jump[1].lower()
            return
        assigned = list(self._assignments(statement))
        for name, value, adds in assigned:
            self.known[name] = f"{self.known[name]} {value}" if adds and self.known.get(name) else value
            if self.blocks.unsure:
                self.asked[name] = self.blocks.unsure
        if assigned or TALKS.match(statement):
            return
        command = self.filled(statement)
        if _trains(command):
            used = [self.asked[name] for name in _names(statement) if name in self.asked]
            only_if = self.blocks.unsure or self.not_leapt
            self.commands.append((command, only_if, tuple(dict.fromkeys(used))))

    def filled(self, text: str) -> str:
        """A text with the variables that are known put in; what stands in single quotes stays."""
        parts = re.split(r"('[^']*')", text)
        return "".join(part if part.startswith("'") else self._put_in(part) for part in parts)

    def _put_in(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            groups = match.groups()
            name = next(group for group in (*groups[:2], *groups[3:]) if group)
            return self.known.get(name.lower(), match[0] if groups[2] is None else groups[2])

        text = VARIABLE.sub(value, text)
        if not self.in_notebook:
            return text
        return NOTEBOOK_PLACE.sub(lambda match: self.known.get(match[1].lower(), match[0]), text)

    def _assignments(self, statement: str) -> Iterator[tuple[str, str, bool]]:
        """Name, value without its quotes, and whether it is added to what was there."""
        if added := ADDED.match(statement):
            yield added[1].lower(), _item(self._expression(added[2])), True
        elif match := POWERSHELL.fullmatch(statement):
            value, adds = self._expression(match[3]), match[2] == "+="
            if not adds and ONE_TEXT.fullmatch(match[3].strip()):
                value = as_word(value)
            yield match[1].lower(), _item(value) if adds else value, adds
        elif match := SET_IN_CMD.fullmatch(statement):
            name, value = match["quoted"] or match["name"], match["inside"] or match["value"] or ""
            yield name.lower(), self.filled(value.strip()), False  # cmd keeps quotes around the value
        elif self.in_notebook and (match := PYTHON.fullmatch(statement)) and not TRAINS.search(statement):
            yield match[1].lower(), self.filled(_bare(match[3].strip())), False
        else:
            yield from self._in_shell(statement)

    def _in_shell(self, statement: str) -> Iterator[tuple[str, str, bool]]:
        """NAME=value NAME+=(words …), where nothing stands behind them: no command's own environment."""
        declares = SH_DECLARES.match(statement)
        at = declares.end() if declares else 0
        pairs: list[re.Match[str]] = []
        while match := SH.match(statement, at):
            pairs.append(match)
            at = match.end()
        if not statement[at:].strip():
            for match in pairs:
                value = match[3]
                is_list = value.startswith("(")
                value = _words(value[1:-1]) if is_list else _bare(value)
                yield match[1].lower(), " ".join(self.filled(value).split()), match[2] == "+="

    def _expression(self, text: str) -> str:
        """PowerShell's value: a text, a list, texts that are added, or one of two."""
        text = text.strip().removesuffix(",")  # in param( … )
        if EMPTY_VALUE.fullmatch(text):
            return ""
        if branches := INLINE.fullmatch(text):
            first = holds_true(branches[1], self.filled) is not False
            return self._expression(branches[2] if first else branches[3])
        if listed := re.fullmatch(
            r"@\((.*)\)|((?:\"[^\"]*\"|'[^']*')(?:\s*,\s*(?:\"[^\"]*\"|'[^']*'))+)", text
        ):
            return _words(self.filled(" ".join(_divided(listed[1] or listed[2], ","))))
        return "".join(self.filled(_bare(part)) for part in _divided(text, "+"))


def _trains(command: str) -> bool:
    script = RUNS.search(command)
    return bool(script and OPTION_BEGINS.search(command, script.end()))


def _divided(text: str, sign: str) -> list[str]:
    """A text at a sign outside of quotes."""
    parts = re.findall(rf"(?:\"[^\"]*\"|'[^']*'|[^{re.escape(sign)}\"'])+", text)
    return [part.strip() for part in parts]


def _words(text: str) -> str:
    """A list's words: one that holds an option and its value is taken apart, as shells do for it."""
    return re.sub(r"([\"'])(--[\w-]+\s[^\"']*)\1", r"\2", text)


def _item(value: str) -> str:
    """A text as one of a list's words; one that holds an option and its value is two."""
    return f'"{value}"' if re.search(r"\s", value) and not re.match(r"\"|--[\w-]+\s", value) else value


def _bare(value: str) -> str:
    """A value without the quotes around it."""
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def _names(statement: str) -> list[str]:
    """Variables that a statement uses, in small letters."""
    groups = [match.groups() for match in VARIABLE.finditer(statement)]
    return [name.lower() for group in groups for name in (*group[:2], *group[3:]) if name]
