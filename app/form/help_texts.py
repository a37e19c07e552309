"""What the page says about each setting, and the search over it."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from app.form.groups import fold_of
from app.form.values import plain
from app.texts import TEXTS, group_words, word, words
from trainer.messages import LANGUAGES, Language, texts
from trainer.schema import HELP_PARTS, Schema, Setting
from trainer.settings import TRAINING
from trainer.tools.table import TOOLS


def help_of(key: str, language: Language, schema: Schema[Any] = TRAINING) -> dict[str, str]:
    """The help of a setting: `meaning` (of the label, Japanese only) and HELP_PARTS."""
    return schema.told(key, texts(language)["tool_settings" if schema.name else "settings"])


def fields(language: Language, schema: Schema[Any] = TRAINING) -> dict[str, dict[str, Any]]:
    """Label, place and help of every setting."""
    return {
        key: {
            "label": setting.spec.label,
            "tab": setting.spec.tab,
            "group": setting.spec.group,
            "fold": fold_of(setting),
            "kind": setting.kind,
            "widget": setting.spec.widget,
            "choices": choices(setting, language, schema),
            "required": setting.spec.required,
            "placeholder": placeholder(setting, language),
            "default": default_text(setting, language),
            "meaning": help_of(key, language, schema).get("meaning", "") if language == "ja" else "",
            "help": {part: help_of(key, language, schema).get(part, "") for part in HELP_PARTS},
        }
        for key, setting in schema.items()
    }


def choices(setting: Setting, language: Language, schema: Schema[Any] = TRAINING) -> list[dict[str, str]]:
    """The choices of a list, or the offered values of a free text, each with its words."""
    words = schema.told(setting.key, texts(language)["tool_choices" if schema.name else "choices"])
    offered = [str(choice) for choice in setting.choices or setting.spec.suggestions]
    return [{"value": value, "words": words.get(value, "")} for value in offered]


def placeholder(setting: Setting, language: Language) -> str:
    """What an empty field says."""
    spec, own = setting.spec, f"empty.{setting.key}"
    if own in words(language):
        return word(language, own)
    path = spec.widget in ("model", "file", "folder")
    return word(language, "empty.path" if spec.required else "empty.optional") if path else ""


def default_text(setting: Setting, language: Language) -> str:
    """The default in words, as the help panel's foot shows it."""
    default = setting.default
    if isinstance(default, bool):
        return word(language, "on" if default else "off")
    return plain(setting, default) or word(language, "blank")


def folded(text: str) -> str:
    """For comparing: full-width as half-width, no case, katakana as hiragana."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return "".join(chr(ord(char) - 0x60) if "ァ" <= char <= "ヶ" else char for char in text)


@cache
def _index(schema: Schema[Any]) -> dict[str, tuple[str, str, str]]:
    """key -> (label, other names, all words of its help in every language), folded."""
    index = {}
    for key, setting in schema.items():
        told = [help_of(key, language, schema) for language in LANGUAGES]
        meanings = " ".join(one.get("meaning", "") for one in told)
        body = " ".join(one.get(part, "") for one in told for part in HELP_PARTS)
        groups = " ".join(_group(setting, schema, language) for language in LANGUAGES)
        guides = " ".join(texts(language, TEXTS)["search"].get(key, "") for language in LANGUAGES)
        names = f"{meanings} {guides} {key} {key.replace('_', ' ')} {setting.spec.flag}"
        index[key] = (folded(setting.spec.label), folded(names), folded(f"{body} {groups}"))
    return index


@cache
def _tool_index() -> dict[str, tuple[str, str, str]]:
    """A tool's name -> (titles, other names, what it does and has, in every language), folded."""
    index = {}
    for name, tool in TOOLS.items():
        told = [texts(language)["tools"][name] for language in LANGUAGES]
        guides = " ".join(texts(language, TEXTS)["search_tools"].get(name, "") for language in LANGUAGES)
        fields = (_index(tool.schema)[key] for key in tool.schema)
        body = " ".join([*(one["about"] for one in told), *(" ".join(parts[:2]) for parts in fields)])
        titles = " ".join(one["title"] for one in told)
        index[name] = (folded(titles), folded(f"{guides} {name}"), folded(body))
    return index


def find_tools(query: str, language: Language, most: int = 4) -> list[dict[str, str]]:
    """Tools in which every word of the query occurs, the best first, as `find` has settings."""
    wanted, told = folded(query).split(), texts(language)["tools"]
    return [
        {"key": "", "tool": name, "label": told[name]["title"], "where": words(language)["tab.tools"]}
        for name in _best(wanted, _tool_index())[:most]
    ]


def _best(wanted: Sequence[str], index: Mapping[str, tuple[str, str, str]]) -> list[str]:
    """The keys whose words have all that is wanted, the best first."""
    scored = []
    for place, (key, parts) in enumerate(index.items()):
        if wanted and all(any(term in part for part in parts) for term in wanted):
            scored.append((sum(_score(term, *parts) for term in wanted), -place, key))
    return [key for _, _, key in sorted(scored, reverse=True)]


def find(
    query: str, language: Language, most: int = 12, schema: Schema[Any] = TRAINING
) -> list[dict[str, str]]:
    """Settings in which every word of the query occurs, the best first: label, then key, then help."""
    return [
        {"key": key, "label": schema[key].spec.label, "where": where(schema[key], language)}
        for key in _best(folded(query).split(), _index(schema))[:most]
    ]


def _group(setting: Setting, schema: Schema[Any], language: Language) -> str:
    """The title of a setting's group."""
    if schema.name:
        return texts(language)["tool_groups"][setting.spec.group]
    return group_words(language)[setting.spec.group]["title"]


def _score(term: str, label: str, names: str, body: str) -> int:
    if label.startswith(term):
        return 60 + (label == term) * 40
    if f" {term}" in f" {label}":
        return 40
    if names.lstrip().startswith(term):  # the Japanese meaning
        return 35
    return 30 * (term in label) or 20 * (term in names) or int(term in body)


def where(setting: Setting, language: Language) -> str:
    """Tab and group of a setting in words."""
    spec = setting.spec
    return f"{words('en')['tab.' + spec.tab]} › {group_words(language)[spec.group]['title']}"
