"""Codes, sizes and times in the reader's words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.events import (
    Event,
    Failed,
    Finished,
    Notice,
    Phase,
    Removed,
    Sampled,
    Saved,
    Started,
    Stopped,
)
from trainer.messages import Language, Message, Said, in_words, say, texts

TEXTS = Path(__file__).parent / "texts"
STATES = ("state", "safety")
"""Kinds of what a run saves to go on from; all else is its result."""


def language_of(text: object) -> Language:
    """Our language for a browser's tag or cookie ("ja-JP" -> "ja"); English for all we do not have."""
    return "ja" if str(text or "").strip().lower().startswith("ja") else "en"


def words(language: Language) -> dict[str, str]:
    """All words of the page."""
    kinds = texts(language, TEXTS)
    return {**kinds["page"], **kinds["live"]}


def script_words(language: Language) -> dict[str, str]:
    """Those that the page's script is sent, by the names that it uses."""
    kinds = texts(language, TEXTS)
    own = {key[3:]: text for key, text in kinds["page"].items() if key.startswith("js.")}
    tabs = {key: text for key, text in kinds["page"].items() if key.startswith("tab.")}
    groups = {f"group.{key}": entry["title"] for key, entry in group_words(language).items()}
    return {**own, **tabs, **groups, **kinds["live"]}


def word(language: Language, key: str, /, **values: Any) -> str:
    """One of them, filled. A word with `_one` beside it takes that for a count of 1."""
    table = words(language)
    if values.get("count") in (1, "1") and f"{key}_one" in table:
        key = f"{key}_one"
    return table[key].format_map(values) if values else table[key]


def group_words(language: Language) -> dict[str, dict[str, str]]:
    """Title and sentence of every group of settings, and of the page's own."""
    return {**texts(language)["groups"], **texts(language, TEXTS)["groups"]}


def said(code: str, values: Mapping[str, Any], language: Language) -> Said:
    """A message in words: one of the page's own ("page.…") or a trainer's.

    A code that the texts lack (a newer trainer) is shown as it is.
    """
    try:
        if code.startswith("page."):
            shown = {name: in_words(value, language) for name, value in values.items()}
            return Said(word(language, f"error.{code[5:]}", **shown))
        return say(Message(code, values), language)
    except (KeyError, ValueError, IndexError):
        return Said(f"{code}: " + ", ".join(f"{key} = {value}" for key, value in values.items()))


def size(count: float) -> str:
    """Bytes: 434 kB, 19 MB, 8.0 GB."""
    if count < 1e6:
        return f"{count / 1e3:.0f} kB"
    if count < 1e9:
        return f"{count / 1e6:.0f} MB" if count >= 1e7 else f"{count / 1e6:.1f} MB"
    return f"{count / 1e9:.1f} GB"


def duration(seconds: float, language: Language) -> str:
    """41 s, 17 min 52 s, 3 h 5 min; in Japanese 17 分 52 秒."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    parts = [(hours, "hour"), (minutes, "minute"), (rest, "second")]
    shown = [part for part in parts if part[0]][:2] or [(0, "second")]
    if hours and shown[-1][1] == "second":
        shown = shown[:1]
    return " ".join(f"{count} {word(language, unit)}" for count, unit in shown)


def thousands(count: int) -> str:
    """1,200."""
    return f"{count:,}"


def base_name(path: str) -> str:
    """File name of a path of any system."""
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def log_line(event: Event, language: Language) -> tuple[str, str]:
    """(level, sentence) of an event for the log; ("", "") for those the log does not show."""
    if isinstance(event, (Notice, Failed)):
        text = str(said(event.code, event.values, language)).replace("**", "")
        return event.level if isinstance(event, Notice) else "error", text
    if isinstance(event, Started):
        if event.first_step:
            return "info", word(
                language, "log.continued", step=thousands(event.first_step), device=event.device
            )
        values = {"steps": thousands(event.total_steps), "device": event.device, "seed": event.seed}
        return "info", word(language, "log.started", **values)
    if isinstance(event, Phase):
        return "info", word(language, "log.begun") if event.name == "start" else ""
    if isinstance(event, Sampled):
        return "info", word(language, "log.sampled", step=thousands(event.step), prompt=event.prompt)
    if isinstance(event, Saved):
        if event.kind in STATES:
            return "info", word(language, "log.saved_state", step=thousands(event.step))
        if not event.size:
            return "info", word(language, "log.made_folder", name=base_name(event.path))
        return "info", word(language, "log.saved", name=base_name(event.path), size=size(event.size))
    if isinstance(event, Removed):
        return "info", word(language, "log.removed", name=base_name(event.path))
    if isinstance(event, Finished) and not event.step:  # a tool has no steps
        return "info", word(language, "log.done")
    if isinstance(event, Finished):
        return "info", word(language, "log.finished", steps=thousands(event.step))
    if isinstance(event, Stopped):
        told = "log.paused" if event.paused else "log.stopped" if event.step else "log.stopped_early"
        return "warning", word(language, told, step=thousands(event.step))
    return "", ""
