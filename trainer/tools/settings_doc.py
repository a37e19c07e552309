"""Writes docs/settings.md and docs/settings.ja.md: every setting, from the schema and the texts.

`python -m trainer.tools.settings_doc` rewrites them; a test fails while they are not current.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

from trainer.families.table import FAMILIES
from trainer.files.whole_file import write_whole
from trainer.kohya.sd_defaults import DEFAULTS
from trainer.messages import LANGUAGES, Language, Message, say, texts
from trainer.schema import HELP_PARTS, SET, Schema, Setting
from trainer.settings import TRAINING, Tab

DOCS = Path(__file__).resolve().parents[2] / "docs"
NO_FLAG = "-"
"""`Spec.flag` of a setting that sd-scripts has no option for."""
TEXT_KINDS = (
    "model", "file", "folder", "lines", "secret", "lora", "shares", "new_file", "new_model", "new_folder",
    "picture",
)  # fmt: skip
"""Widgets that say more than "text"."""


def main() -> None:
    """Rewrite the pages of all languages."""
    DOCS.mkdir(exist_ok=True)
    for language in LANGUAGES:
        write_whole(DOCS / file_name(language), page(language).encode())


def file_name(language: Language) -> str:
    """Name of the page in a language."""
    return "settings.md" if language == "en" else f"settings.{language}.md"


def page(language: Language, schema: Schema[Any] = TRAINING) -> str:
    """The whole page as Markdown."""
    return "\n".join([*_head(language, schema), *_body(language, schema)]) + "\n"


def by_place(schema: Schema[Any] = TRAINING) -> dict[str, dict[str, list[Setting]]]:
    """Settings by tab and group. Groups stand in the order of texts/groups.en.json."""
    order = list(texts("en")["groups"])
    used = [setting.spec.tab for setting in schema.values()]
    tabs = [tab for tab in dict.fromkeys([*get_args(Tab), *used]) if tab in used]
    places: dict[str, dict[str, list[Setting]]] = {tab: {} for tab in tabs}
    for setting in sorted(schema.values(), key=lambda setting: order.index(setting.spec.group)):
        places[setting.spec.tab].setdefault(setting.spec.group, []).append(setting)
    return places


def doc_text(language: Language, name: str, **values: Any) -> str:
    """A piece of text of these pages."""
    return say(Message(f"settings_doc.{name}", values), language).what


def _head(language: Language, schema: Schema[Any]) -> Iterator[str]:
    groups = texts(language)["groups"]
    yield f"# {doc_text(language, 'title')}\n"
    yield f"{doc_text(language, 'other_language')}\n"
    yield f"{doc_text(language, 'intro', count=len(schema))}\n"
    for tab, members in by_place(schema).items():
        yield f"- **{doc_text(language, f'tab_{tab}')}**"
        for group, settings in members.items():
            links = " · ".join(f"[{setting.spec.label}](#{setting.key})" for setting in settings)
            yield f"  - {groups[group]['title']}: {links}"
    yield ""


def _body(language: Language, schema: Schema[Any]) -> Iterator[str]:
    groups = texts(language)["groups"]
    for tab, members in by_place(schema).items():
        yield f"## {doc_text(language, f'tab_{tab}')}\n"
        for group, settings in members.items():
            yield f"### {groups[group]['title']}\n"
            yield f"{groups[group]['about']}\n"
            for setting in settings:
                yield from _entry(setting, language, schema)


def _entry(setting: Setting, language: Language, schema: Schema[Any]) -> Iterator[str]:
    """One setting: heading, facts, when it counts, help, choices."""
    help_ = texts(language)["settings"][setting.key]
    meaning = f"（{help_['meaning']}）" if help_.get("meaning") else ""
    yield f'<a id="{setting.key}"></a>\n'
    yield f"#### {setting.spec.label}{meaning}\n"
    yield f"`{setting.key}` · {' · '.join([*facts(setting, language), *_origin(setting, language)])}\n"
    if setting.spec.unbuilt is True:
        yield f"{doc_text(language, 'unbuilt')}\n"
    if setting.spec.matters:
        yield f"{when(setting, language, schema)}\n"
    for part in HELP_PARTS:
        if help_[part]:
            yield f"- **{doc_text(language, _heading(setting, part))}:** {help_[part]}"
    yield from choices(setting, language, schema)
    yield ""


def _heading(setting: Setting, part: str) -> str:
    """Only a number can be too much; a wrong choice or text is something to watch out for."""
    return "watch_out" if part == "too_much" and setting.kind not in {"int", "float"} else part


def facts(setting: Setting, language: Language) -> Iterator[str]:
    """Kind, bounds and default of a setting."""
    spec = setting.spec
    kind = doc_text(language, f"kind_{_kind(setting)}")
    yield doc_text(language, "or_blank", kind=kind) if setting.optional else kind
    if limits := _limits(setting, language):
        yield limits
    if spec.required:
        yield doc_text(language, "required")
    yield doc_text(language, "default", value=value_of(setting.default, language))


def _kind(setting: Setting) -> str:
    """By the widget where it says more than the type; a tool's model without suggestions is here already."""
    spec = setting.spec
    if spec.widget == "model" and spec.tab == "tools" and not spec.suggestions:
        return "model_here"
    return spec.widget if spec.widget in TEXT_KINDS else setting.kind


def _origin(setting: Setting, language: Language) -> Iterator[str]:
    """Its name in sd-scripts, and the version that brought it."""
    spec = setting.spec
    flag = spec.flag or setting.key
    if flag in DEFAULTS:
        yield doc_text(language, "flag", flag=f"`--{flag}`")
    yield doc_text(language, "since", version=spec.since)


def _limits(setting: Setting, language: Language) -> str:
    """The legal bounds in words; "" where there are none."""
    least, above, most = (setting.bound(name) for name in ("ge", "gt", "le"))
    low = least if above is None else above
    if low is None:
        return ""
    name = "at_least" if above is None else "above"
    name = name if most is None else {"at_least": "between", "above": "above_to"}[name]
    return doc_text(language, name, low=value_of(low, language), high=value_of(most, language))


def when(setting: Setting, language: Language, schema: Schema[Any]) -> str:
    """Under which other settings this one counts."""
    conditions = []
    for other, wanted in setting.spec.matters.items():
        if other == "family":
            titles = doc_text(language, "or").join(
                _spaced(FAMILIES[family].title, language) for family in wanted
            )
            conditions.append(doc_text(language, "for_family", titles=titles))
            continue
        values = doc_text(language, "or").join(
            _spaced(value_of(value, language), language) for value in wanted
        )
        label = schema[other].spec.label
        conditions.append(doc_text(language, "condition", label=label, values=values))
    return doc_text(language, "matters", conditions=doc_text(language, "and").join(conditions))


def _spaced(value: str, language: Language) -> str:
    """Japanese keeps a thin gap around Latin letters and digits."""
    return f" {value} " if language == "ja" and value.isascii() else value


def value_of(value: Any, language: Language) -> str:
    """A value as the page shows it: 1e-4 as 0.0001, True as on."""
    if isinstance(value, bool):
        return doc_text(language, "on" if value else "off")
    if value is None or value == "":  # 0 is a value
        return doc_text(language, "blank")
    if value == SET:
        return doc_text(language, "set")
    if isinstance(value, int | float):
        return f"{Decimal(repr(value)).normalize():,f}"
    return str(value)


def choices(setting: Setting, language: Language, schema: Schema[Any]) -> Iterator[str]:
    """The choices of a list, or the offered values of a free text, with their words."""
    offered = setting.choices or setting.spec.suggestions
    if not offered:
        return
    yield f"- **{doc_text(language, 'choices')}:**"
    meanings = schema.told(setting.key, texts(language)["tool_choices" if schema.name else "choices"])
    missing = setting.spec.unbuilt if isinstance(setting.spec.unbuilt, tuple) else ()
    for choice in offered:
        name = f"`{choice}`" if str(choice) else doc_text(language, "blank")
        note = f" ({doc_text(language, 'unbuilt_choice')})" if choice in missing else ""
        yield f"  - {name}: {meanings[str(choice)]}{note}"


if __name__ == "__main__":
    main()
