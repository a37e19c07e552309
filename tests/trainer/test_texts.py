"""Help, groups and choices stand in both languages, name real settings, and make up docs/settings.md."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

from trainer import messages
from trainer.kohya.sd_defaults import DEFAULTS
from trainer.messages import LANGUAGES, Language, Message, say, texts
from trainer.problems import some_names
from trainer.settings import TRAINING
from trainer.tools import settings_doc, tools_doc
from trainer.tools.table import TOOLS

LONGEST = {"en": 300, "ja": 180}
"""Characters in a part of a help text: what fits into the page's rail without scrolling."""
LONGEST_MEANING = 22
"""Characters under a label."""
LONGEST_CHOICE = 70
JAPANESE = re.compile(r"[ぁ-んァ-ヶ一-龥]")
BARE_VALUE = re.compile(r"[\w.+-]+。")
"""A usual value that needs no words: "256。"."""
LABELS = {setting.spec.label for setting in TRAINING.values()}
TOOL_LABELS = {setting.spec.label for tool in TOOLS.values() for setting in tool.schema.values()}
OFFERED = {
    key: [str(choice) for choice in setting.choices or setting.spec.suggestions]
    for key, setting in TRAINING.items()
    if setting.choices or setting.spec.suggestions
}
NO_OPTION_OF_SD_SCRIPTS = {"no_token_padding"}
"""kohya_ss's own age of 2023-05 had it; sd-scripts has dropped it."""

languages = pytest.mark.parametrize("language", LANGUAGES)


def help_parts(language: Language) -> Iterator[tuple[str, str, str]]:
    """(key, part, text) of all help."""
    for key, parts in texts(language)["settings"].items():
        for part, text in parts.items():
            yield key, part, text


def labels_named(text: str) -> set[str]:
    """Settings named in a text."""
    return set(re.findall(r"\*\*(.+?)\*\*", text))


def places_to_fill(text: str) -> set[str]:
    """Names in braces."""
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@languages
def test_help_is_there_for_every_setting_and_no_other(language):
    assert set(texts(language)["settings"]) == set(TRAINING)


@languages
def test_help_has_its_parts(language):
    wanted = [*(["meaning"] if language == "ja" else []), *settings_doc.HELP_PARTS]
    for key, parts in texts(language)["settings"].items():
        assert [*parts] == wanted, key
        assert [part for part in parts if not parts[part] and part != "too_much"] == [], key


@languages
def test_help_fits_its_place(language):
    for key, part, text in help_parts(language):
        assert len(text) <= (LONGEST_MEANING if part == "meaning" else LONGEST[language]), (key, part)
        assert text == text.strip(), (key, part)
        assert "\n" not in text, (key, part)


@languages
def test_help_names_other_settings_by_their_label(language):
    for key, part, text in help_parts(language):
        assert text.count("**") % 2 == 0, (key, part)
        assert labels_named(text) <= LABELS - {TRAINING[key].spec.label}, (key, part)


def test_both_languages_say_as_much():
    japanese = texts("ja")["settings"]
    for key, part, text in help_parts("en"):
        assert labels_named(text) == labels_named(japanese[key][part]), (key, part)
        assert bool(text) == bool(japanese[key][part]), (key, part)


def test_japanese_help_is_japanese_and_english_is_not():
    for key, part, text in help_parts("ja"):
        assert not text or JAPANESE.search(text) or BARE_VALUE.fullmatch(text), (key, part)
    for key, part, text in help_parts("en"):
        assert not JAPANESE.search(text), (key, part)


TYPESET = {
    "a gap between Japanese and Latin letters or digits": re.compile(
        r"[ぁ-んァ-ヶ一-龥ー][A-Za-z0-9]|[A-Za-z0-9][ぁ-んァ-ヶ一-龥]"
    ),
    "full-width ？ and ：": re.compile(r"[ぁ-んァ-ヶ一-龥ー][?:](?!/)"),
    "フォルダ, as in the guide": re.compile("フォルダー"),
}


@pytest.mark.parametrize("rule", TYPESET)
def test_japanese_is_set_as_japanese(rule):
    for kind, entries in texts("ja").items():
        for name, entry in entries.items():
            for part, text in entry.items() if isinstance(entry, dict) else [("", entry)]:
                assert not TYPESET[rule].search(text), (kind, name, part)


def test_idle_settings_name_what_they_depend_on():
    """A setting that counts only under another says so in its help."""
    for key, setting in TRAINING.items():
        named = labels_named(" ".join(texts("en")["settings"][key].values()))
        others = ("sdxl" if other == "family" else other for other in setting.spec.matters)
        assert {TRAINING[other].spec.label for other in others} <= named, key


@languages
def test_groups_have_title_and_sentence(language):
    groups = texts(language)["groups"]
    assert set(groups) == {setting.spec.group for setting in TRAINING.values()}
    for name, group in groups.items():
        assert [*group] == ["title", "about"], name
        assert all(group.values()), name


@languages
def test_choices_have_words_for_every_choice_and_no_other(language):
    choices = texts(language)["choices"]
    assert {key: [*words] for key, words in choices.items()} == OFFERED
    for key, words in choices.items():
        for choice, text in words.items():
            assert 0 < len(text) <= LONGEST_CHOICE, (key, choice)
            assert language == "en" or JAPANESE.search(text), (key, choice)


def test_messages_stand_in_both_languages_with_the_same_places_to_fill():
    english, japanese = (texts(language)["messages"] for language in LANGUAGES)
    assert set(english) == set(japanese)
    for code, parts in english.items():
        assert set(parts) == set(japanese[code]), code
        for part, text in parts.items():
            assert places_to_fill(text) == places_to_fill(japanese[code][part]), (code, part)


@languages
def test_messages_name_settings_by_their_label(language):
    for code, parts in texts(language)["messages"].items():
        if code.startswith(("settings_doc.", "kohya.")):  # headings; kohya_ss's own labels
            continue
        for part, text in parts.items():
            named = {label for label in labels_named(text) if "{" not in label}
            assert named <= LABELS | TOOL_LABELS, (code, part)


def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of a file; a name that stands in it twice would lose its first text."""
    assert len(dict(pairs)) == len(pairs), [name for name, _ in pairs]
    return dict(pairs)


@languages
def test_no_text_is_declared_twice(language):
    seen: dict[tuple[str, str], str] = {}
    for path in sorted((Path(messages.__file__).parent / "texts").glob(f"*.{language}.json")):
        for kind, entries in json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique).items():
            for name in entries:
                assert seen.setdefault((kind, name), path.name) == path.name, (kind, name)


def test_flags_are_options_of_sd_scripts():
    flags = {key: setting.spec.flag or key for key, setting in TRAINING.items()}
    unknown = {key for key, flag in flags.items() if flag != settings_doc.NO_FLAG and flag not in DEFAULTS}
    assert unknown <= NO_OPTION_OF_SD_SCRIPTS


@languages
def test_docs_are_current(language):
    """If this fails: python -m trainer.tools.settings_doc."""
    path = settings_doc.DOCS / settings_doc.file_name(language)
    assert path.read_text(encoding="utf-8") == settings_doc.page(language)


@languages
def test_docs_of_the_tools_are_current(language):
    """If this fails: python -m trainer.tools.tools_doc."""
    path = settings_doc.DOCS / tools_doc.file_name(language)
    assert path.read_text(encoding="utf-8") == tools_doc.page(language)


@languages
def test_docs_show_every_setting_once_and_all_links_lead_somewhere(language):
    page = settings_doc.page(language)
    anchors = re.findall(r'<a id="(\w+)"></a>', page)
    assert anchors == re.findall(r"\]\(#(\w+)\)", page)
    assert sorted(anchors) == sorted(TRAINING)


def test_docs_say_what_is_not_built():
    page = settings_doc.page("en")
    unbuilt = [setting.spec.unbuilt for setting in TRAINING.values()]
    assert page.count("**Not built yet:**") == unbuilt.count(True)
    assert page.count("(*not built yet*)") == sum(len(some) for some in unbuilt if isinstance(some, tuple))


def test_docs_do_not_depend_on_the_process():
    """The order of sets must not show."""
    program = "import sys; from trainer.tools import settings_doc; sys.stdout.write(settings_doc.page('ja'))"
    pages = [
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=settings_doc.DOCS.parent,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert pages[0] == pages[1]
    assert pages[0].decode().replace("\r\n", "\n") == settings_doc.page("ja")


def test_a_part_that_ends_in_a_reason_is_closed_before_the_next():
    lost = Message("training.tracker_failed", {"name": "tensorboard", "error": "OSError: no space"})
    assert "OSError: no space. Training goes on" in str(say(lost, "en"))
    assert "OSError: no space。" in str(say(lost, "ja"))


@pytest.mark.parametrize(("language", "listed"), [("en", "a.png, b.png (+2)"), ("ja", "a.png、b.png (+2)")])
def test_names_are_listed_as_the_language_does(language: Language, listed: str):
    said = say(
        Message("tools.left_out", {"count": 4, "names": some_names(["a.png", "b.png", "c", "d"], 2)}),
        language,
    )
    assert listed in said.what
