"""Pieces of the page that the tabs share: texts in both languages, headed sections, fold-outs."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import gradio as gr
from gradio.components import Component

from app.form.groups import fold_of, keys_of
from app.page.theme import COLOURS
from app.page.widgets import add_fields
from app.paths import ASSETS
from app.texts import group_words, words
from trainer.messages import LANGUAGES
from trainer.settings import TRAINING


def both(texts_by_language: Iterable[str], tag: str = "span") -> str:
    """HTML with the same text in every language; the style sheet shows the page's own."""
    return "".join(
        f"<{tag} lang={language}>{markup(text)}</{tag}>"
        for language, text in zip(LANGUAGES, texts_by_language, strict=True)
    )


def t(key: str, tag: str = "span") -> str:
    """A word of the page, in both languages."""
    return both([words(language)[key] for language in LANGUAGES], tag)


def markup(text: str) -> str:
    """**bold** and `code` as HTML; all else as it stands."""
    safe = html.escape(text, quote=False)
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", safe))


def icon(name: str, small: bool = False) -> str:
    """A symbol of the sprite in assets/icons.svg."""
    return f'<svg class="ic{" s" if small else ""}" aria-hidden="true"><use href="#i-{name}"/></svg>'


def asset(name: str) -> str:
    """Text of a file beside the page."""
    return (ASSETS / name).read_text(encoding="utf-8")


def style_sheet(name: str) -> str:
    """A style sheet without its comments, which are for who reads it here."""
    return re.sub(r"/\*.*?\*/", "", asset(f"{name}.css"), flags=re.DOTALL)


def glyphs_css() -> str:
    """Symbols of the sprite as pictures for the style sheets, in the colour of small text."""
    symbols = dict(re.findall(r'id="i-(\w+)" viewBox="[^"]*">(.*?)</symbol>', asset("icons.svg")))
    light, dark = COLOURS["body_text_color_subdued"]

    def variables(colour: str) -> str:
        widths = {"folder": 1.7, "file": 1.7, "drop": 2}
        pictures = {name: _picture(symbols[name], colour, width) for name, width in widths.items()}
        return " ".join(f"--la-{name}: {picture};" for name, picture in pictures.items())

    return f":root {{ {variables(light)} }}\n.dark {{ {variables(dark)} }}"


def _picture(drawing: str, colour: str, width: float) -> str:
    stroke = f"stroke='{colour}' stroke-width='{width}' stroke-linecap='round' stroke-linejoin='round'"
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' {stroke}>{drawing}</svg>"
    return f'url("data:image/svg+xml,{quote(svg)}")'


def translated() -> gr.I18n:
    """Words of Gradio's own parts (tabs and fold-outs), by the browser's language."""
    return gr.I18n(
        **{
            language: {
                **{f"w.{key}": text for key, text in words(language).items() if key.startswith("tab.")},
                **{f"g.{key}": entry["title"] for key, entry in group_words(language).items()},
            }
            for language in LANGUAGES
        }
    )


def raw_html(value: str, **options: Any) -> gr.HTML:
    """HTML of our own, without Gradio's styles for prose."""
    return gr.HTML(value, apply_default_css=False, padding=False, **options)


def heading(group: str) -> str:
    """A group's title and sentence."""
    entries = [group_words(language)[group] for language in LANGUAGES]
    about = both([entry.get("about", "") for entry in entries])
    title = both([entry["title"] for entry in entries])
    return f'<header class="la-head"><h2>{title}</h2><p>{about}</p></header>'


@contextmanager
def section(group: str, *, wide: bool = False) -> Iterator[None]:
    """A group of fields with its heading at the left; `wide`: above."""
    with gr.Column(elem_classes=["la-sec", *(["wide"] if wide else [])], elem_id=f"s-{group}", min_width=0):
        raw_html(heading(group), elem_classes="la-headbox")
        with gr.Row(elem_classes="fields"):
            yield


def field_section(components: dict[str, Component], tab: str, group: str, first: Iterable[str] = ()) -> None:
    """A group with all its fields."""
    with section(group):
        add_fields(components, keys_of(tab, group, first))


def fold_out(components: dict[str, Component], i18n: gr.I18n, group: str) -> None:
    """The fields of a fold-out behind its title; their names stand beside the title."""
    keys = [key for key, setting in TRAINING.items() if fold_of(setting) == group]
    fold = gr.Accordion(i18n(f"g.{group}"), open=False, elem_classes="la-acc", elem_id=f"s-{group}")
    with fold, gr.Row(elem_classes="fields"):
        add_fields(components, keys)


def accordion_css() -> str:
    """The names of a fold-out's fields, as text after its title (Gradio's titles are plain text)."""
    groups: dict[str, list[str]] = {}
    for setting in TRAINING.values():
        groups.setdefault(fold_of(setting), []).append(setting.spec.label)
    return "\n".join(
        f"#s-{group} > button > span:first-child::after {{ content: {json.dumps(', '.join(labels))}; }}"
        for group, labels in groups.items()
        if group
    )
