"""Command lines: split a pasted one (POSIX, cmd, PowerShell), read its options, write ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from trainer.errors import UserError
from trainer.kohya.fitting import as_number
from trainer.kohya.sd_scripts import DEFAULTS

LISTS = {
    "network_args", "optimizer_args", "lr_scheduler_args", "text_encoder_lr", "base_weights",
    "base_weights_multiplier",
}  # fmt: skip
"""Options that take any number of values."""
TEXTS = {
    "resolution", "output_name", "caption_extension", "training_comment", "optimizer_type", "mixed_precision",
    "save_precision", "lr_scheduler", "lr_warmup_steps", "network_module", "wandb_run_name",
}  # fmt: skip
"""Options whose value stays text even where it looks like a number."""
MOST_CHARACTERS = 100_000


def looks_windows(text: str) -> bool:
    r"""Whether a command was written for cmd or PowerShell: C:\…, ^ or ` at a line's end, .exe, .bat."""
    return bool(re.search(r"(^|[\s\"'=])[A-Za-z]:\\|[\^`][ \t]*\r?\n|\\\S+\.(exe|bat|py)\b|\.(exe|bat)\b", text))


def split_command(text: str) -> list[str]:
    """The words of a command line. Raises UserError for a quote that never ends."""
    if len(text) > MOST_CHARACTERS:
        raise UserError("kohya.too_large", path="…", size=f"{len(text):,}", most=f"{MOST_CHARACTERS:,}")
    windows = looks_windows(text)
    text = re.sub(r"[\\^`][ \t]*\r?\n" if windows else r"\\[ \t]*\r?\n", " ", text)
    if windows:
        text = text.replace("^", "") if re.search(r"\^[&|<>^\"]", text) else text
    for escapes in (True, False) if windows else (True,):
        words, open_quote = _split(text, windows=windows, escapes=escapes)
        if not open_quote:
            return words
    raise UserError("kohya.open_quote")


def _split(text: str, *, windows: bool, escapes: bool) -> tuple[list[str], bool]:
    words: list[str] = []
    word, quote, started, at = "", "", False, 0
    while at < len(text):
        char = text[at]
        after = text[at + 1] if at + 1 < len(text) else ""
        if char == "\\" and quote != "'" and escapes and (after in '"\\' if not windows else after == '"') and after:
            word, started, at = word + after, True, at + 2
            continue
        if char == "\\" and not windows and not quote and after:
            word, started, at = word + after, True, at + 2
            continue
        if quote:
            word, quote = (word, "") if char == quote else (word + char, quote)
        elif char == '"' or (char == "'" and (not windows or not word or word.endswith("="))):
            quote, started = char, True
        elif char.isspace():
            words += [word] if started else []
            word, started = "", False
        else:
            word, started = word + char, True
        at += 1
    return words + ([word] if started else []), bool(quote)


def options(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """sd-scripts' options among words, with typed values; and the words that belong to none."""
    found: dict[str, Any] = {}
    loose: list[str] = []
    for name, values in _grouped(words, loose):
        option = _full_name(name)
        if option in LISTS:
            found[option] = [_typed(option, value) for value in values]
        elif DEFAULTS.get(option) is False or (not values and option not in DEFAULTS):
            found[option] = True
            loose += values
        else:
            found[option] = _typed(option, values[0]) if values else None
            loose += values[1:]
    return found, loose


def _grouped(words: Sequence[str], loose: list[str]) -> Iterator[tuple[str, list[str]]]:
    name, values = "", list[str]()
    for word in words:
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


def _full_name(name: str) -> str:
    """argparse lets people shorten an option as long as it stays unique."""
    name = name.replace("-", "_")
    if name in DEFAULTS:
        return name
    longer = [option for option in DEFAULTS if option.startswith(name)]
    return longer[0] if len(longer) == 1 else name


def _typed(option: str, value: str) -> Any:
    if option in TEXTS or option in ("network_args", "optimizer_args", "lr_scheduler_args"):
        return value
    number = as_number(value) if "," not in value else None
    return value if number is None else number
