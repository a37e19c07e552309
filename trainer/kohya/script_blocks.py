"""Which statements of a script count: its if … else and its choices, where what they ask is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from trainer.kohya.powershell import without_marks

LONGEST_QUESTION = 1000
"""Characters of a question that is looked at."""
Filled = Callable[[str], str]
"""A text with the variables that are known put in."""
TEST = re.compile(r"(?:\}\s*)?(?P<also>el(?=if)|else\s*(?=if))?if\b\s*(?P<rest>.+)", re.IGNORECASE)
ELSE = re.compile(r"else\b\s*(?P<rest>.*)", re.IGNORECASE)
BLOCK_ENDS = re.compile(r"(?:fi|done|esac)$|[})]")
OPENS = re.compile(
    r"(?:do|(?:case|function|foreach|for|while|try|catch|finally|switch)\b.*[{(]|.*\)\s*\{|[{(])$"
)
"""What begins a block that always counts."""
CASE = re.compile(r"case\s+(?P<asked>\S.*?)\s+in\b\s*(?P<rest>.*)", re.DOTALL)
CASE_ARM = re.compile(r"\(?\s*(?P<patterns>[^()\s][^()]*?)\s*\)\s*(?P<rest>.*)", re.DOTALL)
"""Of sh: "small) DIM=8"; what divides statements has taken the patterns before the last | off."""
PATTERN = re.compile(r"\(?[\w.*?\"'\[\]-]+")
SWITCH = re.compile(r"switch\b[^({]*\((?P<asked>.*?)\)\s*\{\s*(?P<rest>.*)", re.DOTALL | re.IGNORECASE)
SWITCH_ARM = re.compile(r"(?P<patterns>\"[^\"]*\"|'[^']*'|[\w.]+|\{[^{}]*\})\s*(?P<rest>\{.*)", re.DOTALL)
"""Of PowerShell: '"small" { $dim = 8 }'; in braces it is a question of its own."""
COMMAND = re.compile(r"^[^\[(\"].*\.py\b.*\s--")
CMD_TEST = re.compile(
    r"(?:/i\s+)?(?P<asked>(?:not\s+)?(?:(?:exist|defined|errorlevel)\s+(?:\"[^\"]*\"|\S+)"
    r"|(?:\"[^\"]*\"|[^\s\"=]+)\s*(?:==|\b(?:equ|neq|lss|leq|gtr|geq)\b)\s*(?:\"[^\"]*\"|[^\s\"(]+)))\s*(?P<rest>.*)",
    re.IGNORECASE,
)
COMPARED = re.compile(
    r"(?P<left>.*?)\s*(?P<how>==|!=|=~|=|\s-(?:eq|ne|gt|ge|lt|le|ieq|ceq|match|like)\b"
    r"|\b(?:equ|neq|lss|leq|gtr|geq)\b|[<>]=?)\s*(?P<right>.*)",
    re.IGNORECASE,
)
NUMERIC: dict[str, Callable[[float, float], bool]] = {
    "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b, "lt": lambda a, b: a < b, "le": lambda a, b: a <= b,
    "gtr": lambda a, b: a > b, "geq": lambda a, b: a >= b, "lss": lambda a, b: a < b,
    "leq": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b,
}  # fmt: skip


@dataclass
class _Block:
    counts: bool
    been: bool
    """Whether one of its parts has counted."""
    asked: str = ""
    """What was asked, where only the script knows the answer."""
    chosen_by: str = ""
    """What a case or a switch asks; which of its arms counts is found out as they come."""
    arms: re.Pattern[str] = CASE_ARM
    guessed: bool = False
    """Whether one of its parts counted that perhaps did not hold."""


class ScriptBlocks:
    """Goes through the statements and gives those that count."""

    def __init__(self) -> None:
        self._open: list[_Block] = []
        self._last = ""
        """The statement before, which may be the first of an arm's patterns."""
        self.passed: list[str] = []
        """Statements that did not count because something was read as if it held."""

    @property
    def unsure(self) -> str:
        """What must hold for the present place to count, where only the script knew it; "" for nothing."""
        return next((block.asked for block in self._open if block.asked), "")

    @property
    def is_plain(self) -> bool:
        """Whether the present place is within no if … else."""
        return not self._open

    def leave(self) -> None:
        """The script goes on elsewhere, within no if … else."""
        self._open = []

    def counting(self, statement: str, filled: Filled) -> Iterator[str]:
        """The simple statements within one that count."""
        text = re.sub(r"^(?:then|do)\b\s*(?=\S)", "", statement.strip()).removeprefix("@")
        if not text or text == "then":
            return
        last, self._last = self._last, text
        if (chosen := CASE.fullmatch(text) or SWITCH.fullmatch(text)) and not COMMAND.search(text):
            arms = CASE_ARM if chosen.re is CASE else SWITCH_ARM
            self._open.append(_Block(False, False, chosen_by=chosen["asked"], arms=arms))
            yield from self.counting(chosen["rest"], filled)
        elif self._open and self._open[-1].chosen_by and (arm := self._open[-1].arms.fullmatch(text)):
            self._choose([last, *arm["patterns"].split("|")], filled)
            yield from self._inside_arm(arm["rest"], filled)
        elif tested := TEST.match(text):
            question, rest = _asked(tested["rest"])
            if len(question) < LONGEST_QUESTION and COMMAND.search(question):  # it asks whether that works
                yield re.sub(r"^!\s*", "", question)
                self._open.append(_Block(counts=True, been=True, asked=question, guessed=True))
            else:
                self._test(question, filled, also=bool(tested["also"]))
            yield from self._inside(rest, filled)
        elif (otherwise := ELSE.match(text)) and self._open:
            block = self._open[-1]
            block.counts, block.been, block.asked = not block.been, True, ""
            yield from self._inside(otherwise["rest"], filled)
        elif BLOCK_ENDS.match(text):
            end = re.match(r"(?:fi|done|esac|[})])\s*", text)
            rest = text[end.end() :] if end else ""
            if rest.lower().startswith(("else", "elif")) and self._open:
                yield from self.counting(rest, filled)
            else:
                self._open = self._open[:-1]
                if self._open and self._open[-1].chosen_by:  # the next arm, or the end of the choice
                    yield from self.counting(rest, filled)
        elif OPENS.match(text):
            self._open.append(_Block(counts=True, been=True))
        elif text[-1] in "})" and _surplus(text):
            yield from self.counting(text[:-1], filled)
            yield from self.counting(text[-1], filled)
        elif all(block.counts for block in self._open):
            yield text
        elif next(block for block in self._open if not block.counts).guessed:
            self.passed.append(text)

    def _test(self, question: str, filled: Filled, *, also: bool) -> None:
        holds = holds_true(question, filled)
        if also and self._open:
            block = self._open[-1]
            block.counts = not block.been and holds is not False
            block.been, block.asked = block.been or block.counts, ""
        else:
            block = _Block(counts=holds is not False, been=holds is not False)
            self._open.append(block)
        if holds is None and block.counts:
            block.asked, block.guessed = question, True

    def _choose(self, patterns: list[str], filled: Filled) -> None:
        """An arm of the choice begins: it counts where it is the first that holds."""
        block = self._open[-1]
        block.asked = ""
        alternatives = [one for one in patterns[:-1] if PATTERN.fullmatch(one)] + patterns[-1:]
        answers = [_is_chosen(block.chosen_by, pattern, filled) for pattern in alternatives]
        holds = True if True in answers else None if None in answers else False
        block.counts = not block.been and holds is not False
        block.been = block.been or block.counts
        if block.counts and holds is None:
            block.guessed = True
            block.asked = f"{block.chosen_by} = {alternatives[-1].strip()}"

    def _inside_arm(self, rest: str, filled: Filled) -> Iterator[str]:
        if self._open[-1].arms is CASE_ARM:
            yield from self.counting(rest, filled)
            return
        self._open.append(_Block(counts=True, been=True))
        closed = _closing(rest)
        yield from self.counting(rest[1:closed] if closed else rest[1:], filled)
        yield from self.counting(rest[closed:] if closed else "", filled)

    def _inside(self, rest: str, filled: Filled) -> Iterator[str]:
        """What stands behind a question on its line: "{ … } else { … }", "( … )", a command, or nothing."""
        rest = rest.strip()
        closed = _closing(rest)
        if rest[:1] in ("{", "("):
            inner, behind = (rest[1:closed], rest[closed:]) if closed else (rest[1:], "")
            yield from self.counting(inner, filled)
            yield from self.counting(behind, filled)
        elif rest:  # cmd: one command on the same line
            yield from self.counting(rest, filled)
            self._open = self._open[:-1]


def _asked(rest: str) -> tuple[str, str]:
    """The question behind "if", and what stands behind it on the line."""
    if rest.startswith("(") and not rest.startswith("(("):
        end = _closing(rest)
        return (rest[1:end], rest[end + 1 :]) if end else (rest[1:], "")
    if (
        len(rest) < LONGEST_QUESTION
        and not rest.startswith(("[", "(("))
        and (match := CMD_TEST.fullmatch(rest))
    ):
        return match["asked"], match["rest"]
    return re.sub(r"[;\s]+then$", "", rest), ""


def _closing(text: str) -> int:
    """Where the bracket that a text begins with is closed; 0 for nowhere."""
    pair = {"{": "}", "(": ")"}.get(text[:1])
    depth = 0
    for at, char in enumerate(text):
        depth += (char == text[0]) - (char == pair)
        if pair and not depth:
            return at
    return 0


def _is_chosen(asked: str, pattern: str, filled: Filled) -> bool | None:
    """Whether an arm's pattern fits what is asked; None where only the script knows."""
    pattern = _bare_pattern(pattern)
    if pattern in ("*", "default"):
        return True
    value = _plain(asked, filled)
    if value is None or pattern.startswith("{") or "$" in pattern:
        return None
    return fnmatchcase(value.lower(), pattern.lower())


def _bare_pattern(pattern: str) -> str:
    return pattern.strip().lstrip("(").strip("\"' ")


def _surplus(text: str) -> bool:
    """Whether the bracket that a text ends with was not opened in it."""
    opened = {"}": "{", ")": "("}[text[-1]]
    return text.count(text[-1]) > text.count(opened)


def holds_true(question: str, filled: Filled, *, in_shell: bool | None = None) -> bool | None:
    """Whether what an "if" asks holds; None where only the script knows.

    `in_shell`: in square brackets, where 0 is a text like any other.
    """
    text = question.strip()
    if len(text) > LONGEST_QUESTION:
        return None
    in_shell = text.startswith("[") if in_shell is None else in_shell
    for words, every in ((r"\s(?:\|\||-o|-or)\s", False), (r"\s(?:&&|-a|-and)\s", True)):
        if len(parts := re.split(words, text, flags=re.IGNORECASE)) > 1:
            answers = [holds_true(part, filled, in_shell=in_shell) for part in parts]
            if (not every) in answers:
                return not every
            return None if None in answers else every
    text = re.sub(r"^(?:\[\[|\[|\(\(|\(|test\s)|(?:\]\]|\]|\)\)|\))$", "", text).strip()
    if denied := re.match(r"(?:!|-not\b|not\b)\s*(.+)", text, re.IGNORECASE):
        answer = holds_true(denied[1], filled, in_shell=in_shell)
        return None if answer is None else not answer
    return _holds(text, filled, in_shell=in_shell)


def _holds(text: str, filled: Filled, *, in_shell: bool) -> bool | None:
    if re.match(r"-[a-mo-yA-Z]\s|(?i:(?:exist|errorlevel)\s|test-path)", text):
        return None
    if empty := re.fullmatch(r"-(?P<how>[zn])\s+(?P<value>.+)|defined\s+(?P<name>\w+)", text):
        value = _plain(empty["value"] or f"%{empty['name']}%", filled)
        return None if value is None else bool(value) != (empty["how"] == "z")
    if text in ("true", "false") and not in_shell:
        return text == "true"
    compared = COMPARED.fullmatch(text)
    if not compared:
        value = _plain(text, filled)
        return None if value is None else bool(value) and (in_shell or value != "0")
    left, right = _plain(compared["left"], filled), _plain(compared["right"], filled)
    if left is None or right is None:
        return None
    return _compared(left, compared["how"].strip().lstrip("-").lower(), right)


def _compared(left: str, operator: str, right: str) -> bool | None:
    if operator in NUMERIC:
        try:
            return NUMERIC[operator](float(left), float(right))
        except ValueError:
            return None
    if operator in ("==", "=", "eq", "equ", "ieq", "ceq"):
        return left.lower() == right.lower()
    return left.lower() != right.lower() if operator in ("!=", "ne", "neq") else None


def _plain(text: str, filled: Filled) -> str | None:
    """A value without its quotes; None where a variable in it is not known."""
    value = without_marks(filled(text.strip()))
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    return None if re.search(r"[$%!`]\(?\{?\w", value) else value.strip()
