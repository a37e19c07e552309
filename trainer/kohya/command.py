"""Command lines: split a pasted one (POSIX, cmd, PowerShell) and read its options."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import Any

from trainer.errors import UserError
from trainer.families.table import FAMILIES
from trainer.kohya.fitting import as_number
from trainer.kohya.foreign.diffusers import SCRIPT
from trainer.kohya.powershell import BLANK, without_marks
from trainer.kohya.script import UNKNOWN, Script, read_script
from trainer.kohya.sd_defaults import DEFAULTS, LISTS, TEXT_OPTIONS
from trainer.problems import repeated

LONGEST_COMMAND = 100_000
TRAIN_SCRIPTS = {family.script: family.switches["sdxl"] for family in FAMILIES.values()}
"""Scripts that train a LoRA for a family of ours, and whether it is SDXL."""
WINDOWS = re.compile(r"(^|[\s\"'=])[A-Za-z]:\\|[\^`][ \t]*\r?\n|\\\S+\.(exe|bat|py)\b|\.(exe|bat)\b")
LAUNCHER = {
    "num_cpu_threads_per_process", "num_processes", "num_machines", "multi_gpu", "gpu_ids",
    "main_process_port", "dynamo_backend", "dynamo_mode", "dynamo_use_fullgraph", "dynamo_use_dynamic",
    "mixed_precision",
}  # fmt: skip
"""accelerate's options that have a setting."""
PYTHONS = ("python", "python3", "py")
LAUNCHERS = ("accelerate", *PYTHONS, "torchrun")


@dataclass(frozen=True)
class Command:
    """A training command, taken apart."""

    sdxl: bool | None
    """What the script says; None: there is no script, only options."""
    options: dict[str, Any]
    launcher: dict[str, Any] = field(default_factory=dict)
    loose: tuple[str, ...] = ()
    """Words that belong to no option."""
    twice: tuple[str, ...] = ()
    """Options that stand more than once; the last counts."""
    script: Script = field(default_factory=lambda: Script(""))
    """The script that it stands in."""
    of_diffusers: bool = False
    """Whether it runs one of diffusers' own scripts, whose options are others."""


def is_command(text: str) -> bool:
    """Whether a text looks like a command that trains."""
    return bool(re.search(r"\w+\.py\b|accelerate|\bpython\d?\s+-m\s|^\s*--\w", text)) and "--" in text


def read_command(text: str, *, powershell: bool = False) -> Command:
    """Take a command apart. Raises UserError for a script that trains no LoRA of ours, or an open quote.

    `powershell`: whether it is known to be PowerShell's.
    """
    _check_length(text)
    script = read_script(text, powershell=powershell)
    words = _from_launcher(split_command(script.command))
    at = next((at for at, word in enumerate(words) if word.lower().endswith(".py")), -1)
    name = PureWindowsPath(words[at].replace("/", "\\")).name if at >= 0 else ""
    theirs = SCRIPT.fullmatch(name)
    if name and name not in TRAIN_SCRIPTS and not theirs:
        raise UserError("kohya.other_script", script=name)
    typed, loose = options(words[at + 1 :], shortened=not theirs)
    twice = tuple(repeated(_full_name(name) for name, _ in _grouped(words[at + 1 :], [])))
    launcher, launcher_words = options(words[: max(at, 0)], shortened=False)
    extra = {option: value for option, value in launcher.items() if option not in LAUNCHER}
    known = {option: value for option, value in launcher.items() if option in LAUNCHER}
    texts = [option_text(option, value) for option, value in extra.items()]
    texts += [
        word
        for word in launcher_words[1:]
        if word not in ("launch", "-m", "accelerate.commands.launch", "accelerate")
    ]
    if texts and at >= 0:
        known["extra_accelerate_launch_args"] = " ".join(texts)
    sdxl = "sdxl" in name if theirs else TRAIN_SCRIPTS.get(name)
    return Command(sdxl, typed, known if at >= 0 else {}, tuple(loose), twice, script, bool(theirs))


def _from_launcher(words: list[str]) -> list[str]:
    """Without what stands before the program: variables of the environment, nohup, sudo …"""
    names = [PureWindowsPath(word.replace("/", "\\")).stem.lower() for word in words]
    at = next((at for at, name in enumerate(names) if name in LAUNCHERS), 0)
    return _without_pythons(words[at:], names[at : at + 1])


def _without_pythons(words: list[str], name: list[str]) -> list[str]:
    """Without the options of Python itself, which stand right behind it: -u, -3.11, -X utf8."""
    if name and name[0] in PYTHONS:
        while re.match(r"-(?!m$)[A-Za-z0-9]", words[1] if len(words) > 1 else ""):
            del words[1 : 3 if words[1] in ("-X", "-W") else 2]
    return words


def _check_length(text: str) -> None:
    if len(text) > LONGEST_COMMAND:
        raise UserError("kohya.too_large", path="…", size=f"{len(text):,}", most=f"{LONGEST_COMMAND:,}")


def split_command(text: str) -> list[str]:
    """The words of a command line. Raises UserError for a quote that never ends."""
    _check_length(text)
    windows = bool(WINDOWS.search(text))
    way = (r"\^([&|<>^\"])", r"\1") if windows else (r"(?<=[\s=])\$(?=['\"])", "")  # sh: $'…' $"…"
    text = re.sub(r"(?<=[\s=])[“”„‟]([^“”„‟\n]*)[“”‟](?=\s|$)", r'"\1"', text)  # as pages print them
    text = re.sub(*way, text)
    text = re.sub(r"\$\([^()\"]*\)", lambda match: match[0].replace(" ", BLANK), text)  # one word
    for escapes in (True, False) if windows else (True,):
        words, complete = _split(text, windows=windows, escapes=escapes)
        if complete:
            return [without_marks(word) for word in words]
    raise UserError("kohya.open_quote")


def _split(text: str, *, windows: bool, escapes: bool) -> tuple[list[str], bool]:
    r"""Words, and whether every quote ended.

    On Windows a backslash is a letter, except before a double quote; `escapes` off makes it always
    one, for the many paths that end in `\"`.
    """
    words: list[str] = []
    word, quote, started = "", "", False
    characters = iter(range(len(text)))
    for at in characters:
        char, after = text[at], text[at + 1 : at + 2]
        if (
            char == "\\"
            and after
            and quote != "'"
            and _escapes(after, windows=windows, quoted=bool(quote))
            and escapes
        ):
            word, started = word + after, True
            next(characters)
        elif windows and char == after == quote == '"':  # doubled, it is a letter
            word += char
            next(characters)
        elif quote:
            word, quote = (word, "") if char == quote else (word + char, quote)
        elif char == '"' or (char == "'" and (not windows or not word or word.endswith("="))):
            quote, started = char, True
        elif char.isspace():
            words += [word] if started else []
            word, started = "", False
        else:
            word, started = word + char, True
    return words + ([word] if started else []), not quote


def _escapes(after: str, *, windows: bool, quoted: bool) -> bool:
    if windows:
        return after == '"'
    return after in '"\\$`' if quoted else True


def options(words: Sequence[str], *, shortened: bool = True) -> tuple[dict[str, Any], list[str]]:
    """sd-scripts' options among words, with typed values; and the words that belong to none.

    `shortened`: names may be cut short; those of another program, accelerate's say, are never completed.
    """
    typed: dict[str, Any] = {}
    loose: list[str] = []
    for name, values in _grouped(words, loose):
        option = _full_name(name) if shortened else name
        if option in LISTS:
            typed[option] = [_typed(option, value) for value in values]
        elif DEFAULTS.get(option) is False or (not values and option not in DEFAULTS):
            typed[option] = True
            loose += values
        else:
            typed[option] = _typed(option, values[0]) if values else None
            loose += values[1:]
    return typed, loose


def _grouped(words: Sequence[str], loose: list[str]) -> Iterator[tuple[str, list[str]]]:
    name = ""
    values: list[str] = []
    for raw in words:
        word = _with_dashes(raw)
        if re.match(r"--[A-Za-z]", word):
            if name:
                yield name, values
            name, equals, value = word[2:].partition("=")
            values = [value] if equals else []
        elif name:
            values.append(word)
        else:
            loose.append(word)
    if name:
        yield name, values


def _with_dashes(word: str) -> str:
    """A word; one that names an option behind one dash, or long ones as pages print them, behind two."""
    match = re.match(r"[-—–―‐‑−]{1,2}([A-Za-z]\w{2,})(?==|$)", word)
    return f"--{word[match.start(1) :]}" if match and match[1] in DEFAULTS else word


def _full_name(name: str) -> str:
    """argparse lets people shorten an option as long as it stays unique."""
    if name in DEFAULTS:
        return name
    longer = [option for option in DEFAULTS if option.startswith(name)]
    return longer[0] if len(longer) == 1 else name


def _typed(option: str, value: str) -> Any:
    number = None if option in TEXT_OPTIONS or "," in value else as_number(value)
    return value if number is None else number


def option_text(name: str, value: Any) -> str:
    """An option as it is typed, with quotes where there are blanks."""
    if value is True:
        return f"--{name}"
    parts = value if isinstance(value, list) else [value]
    return " ".join(
        [f"--{name}", *(f'"{part}"' if re.search(r"\s", str(part)) else str(part) for part in parts)]
    )


def text_of(typed: Mapping[str, Any]) -> str:
    """Options as one line."""
    return " ".join(option_text(name, value) for name, value in typed.items())


def is_of_caller(word: str) -> bool:
    """Whether a word stands for options that only the script's caller knew: $@, $*, %*, ${EXTRA[@]}."""
    return bool(UNKNOWN.search(word) or re.fullmatch(r"\$[@*]|%\*|@\w+", word))


def shell_variables(typed: Mapping[str, Any]) -> list[str]:
    """Options with a variable in their value that only the shell knew."""

    def holds(value: Any) -> bool:
        parts = value if isinstance(value, list) else [value]
        return any(isinstance(part, str) and UNKNOWN.search(part) for part in parts)

    return [name for name, value in typed.items() if holds(value)]
