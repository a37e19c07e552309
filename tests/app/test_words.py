"""Every word of the page is there in both languages, is used, and reaches the person it is for."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

from app.form import help_texts, values
from app.form.look import look
from app.texts import TEXTS, group_words, script_words, words
from trainer import messages
from trainer.families.table import FAMILIES
from trainer.messages import LANGUAGES, texts
from trainer.schema import SET
from trainer.settings import TRAINING

APP = Path(values.__file__).parents[1]
SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in (APP / "assets").glob("*.js")}
JAPANESE = re.compile(r"[ぁ-んァ-ヶ一-龥]")
SAME_IN_BOTH = {"js.paste_hint", "js.seed", "js.scale", "js.unet", "js.text_encoder", "js.block_place",
                "tab.weights", "list", "fix.use", "js.more", "plan.disk", "loss", "rate.unet",
                "reader.name.a1111_forge", "reader.name.forge", "reader.name.comfyui",
                "reader.name.diffusers", "use.other_folder", "remedy.change", "told.v",
                "told.zero", "browse.kind.lora", "browse.kind.controlnet",
                "empty.sample_prompts", "quoted"}  # fmt: skip
ROOM_FILTERS = (
    "all", "unreadable", "small", "no_caption", "long", "alike", "words", "others", "held_out", "changed",
)  # fmt: skip
UNREADABLE = ("empty", "no_picture", "truncated", "too_large", "missing", "no_access")
MADE_UP = {
    "w(`preset_${name}`)": ("preset_family", "preset_memory", "preset_time", "preset_what"),
    "w(`block.${part}`": (
        *(f"block.{side}_{level}" for side in ("in", "out") for level in range(4)),
        "block.mid",
    ),
    "w(`room.filter.${name}`": tuple(f"room.filter.{name}" for name in ROOM_FILTERS),
    "w(`room.about.${name}`": tuple(f"room.about.{name}" for name in ROOM_FILTERS),
    "w(`room.reason.${reason}`": tuple(f"room.reason.{name}" for name in (
        "no_number", "zero_repeats", "many_repeats", "empty", "nested", "no_access", "missing")),
    "w(`room.unreadable.${": tuple(f"room.unreadable.{name}" for name in UNREADABLE),
    "w(`room.size.${size}`": tuple(f"room.size.{name}" for name in "sml"),
    "w(`room.bulk.${name}`": tuple(f"room.bulk.{name}" for name in (
        "add", "remove", "replace", "front", "sort", "once", "text")),
    'w(part === "too_much"': help_texts.HELP_PARTS,
}  # fmt: skip
"""Names that the script puts together."""
languages = pytest.mark.parametrize("language", LANGUAGES)


def asked_for() -> set[str]:
    """Words that the page's script asks for by name."""
    text = "\n".join(SCRIPTS.values())
    names = set(re.findall(r"""\bw\(\s*(?:[^()"`]*\?\s*)?"([\w.]+)\"""", text))
    names |= {
        second
        for pair in re.findall(r"""\bw\([^()]*\?\s*"([\w.]+)"\s*:\s*"([\w.]+)\"""", text)
        for second in pair
    }
    names |= set(
        re.findall(r'data-(?:ph|label)="(\w+)"', (APP / "assets" / "header.html").read_text("utf-8"))
    )
    return names | {name for names in MADE_UP.values() for name in names}


@languages
def test_the_script_finds_every_word_it_asks_for(language):
    assert asked_for() - set(script_words(language)) == set()


@languages
def test_no_two_words_of_the_script_have_one_name(language):
    kinds = texts(language, TEXTS)
    own = [key for key in kinds["page"] if key.startswith(("js.", "tab."))]
    assert len(script_words(language)) == len(own) + len(group_words(language)) + len(kinds["live"])


def test_names_put_together_are_still_put_together():
    text = "\n".join(SCRIPTS.values())
    assert [pattern for pattern in MADE_UP if pattern not in text] == []


def test_no_word_of_the_script_is_left_over():
    header = [(APP / "assets" / name).read_text("utf-8") for name in ("header.html", "logout.html")]
    text = "\n".join([*SCRIPTS.values(), *header])
    made = {name for names in MADE_UP.values() for name in names}
    for key in words("en"):
        name = key[3:].removesuffix("_one")
        if key.startswith("js.") and name not in made:
            assert f'"{name}"' in text, key


def test_both_languages_have_the_same_words_with_the_same_places():
    english, japanese = words("en"), words("ja")
    assert set(english) == set(japanese)
    for key, text in english.items():
        assert _places(text) == _places(japanese[key]), key


def _places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_japanese_words_are_japanese_and_english_ones_are_not():
    for key, text in words("ja").items():
        assert JAPANESE.search(text) or key in SAME_IN_BOTH or not re.search("[A-Za-z]{4}", text), (key, text)
    for key, text in words("en").items():
        assert not JAPANESE.search(text), key


@languages
def test_every_setting_has_words_wherever_the_page_shows_it(language):
    for key, field in help_texts.fields(language).items():
        assert field["help"]["does"], key
        assert field["help"]["usual"], key
        assert field["help"]["goes_with"], key
        assert field["default"], key
        assert bool(field["meaning"]) == (language == "ja"), key
        assert all(choice["words"] for choice in field["choices"]), key
        assert group_words(language)[field["group"]]["title"], key


def test_groups_are_told_in_one_place():
    own = texts("en", TEXTS)["groups"]
    assert set(own) == {"lora_more", "unet"}
    assert not set(own) & set(texts("en")["groups"])


@languages
@pytest.mark.parametrize("key", TRAINING)
def test_every_setting_is_found_by_label_key_and_a_word_of_its_help(key, language):
    most = len(TRAINING)
    for query in (TRAINING[key].spec.label, key, help_texts.help_of(key, language)["does"][:14]):
        found = [hit["key"] for hit in help_texts.find(query, language, most)]
        assert key in found, query
    first = help_texts.find(TRAINING[key].spec.label, language, 5)
    assert key in [hit["key"] for hit in first]


def test_every_message_that_the_trainer_names_is_written():
    written = texts("en")["messages"]
    topics = {code.partition(".")[0] for code in written}
    sources = [path.read_text(encoding="utf-8") for path in Path(messages.__file__).parent.rglob("*.py")]
    named = {code for source in sources for code in re.findall(r'"([a-z_]+\.[a-z0-9_]+)"', source)}
    assert {code for code in named if code.partition(".")[0] in topics} - set(written) == set()


CONDITIONAL = [key for key, setting in TRAINING.items() if setting.spec.matters]


def values_for(other: str, wanted: tuple) -> dict[str, object]:
    """Values of the setting `other` with which what depends on it counts."""
    if other == "family":
        return dict(FAMILIES[wanted[0]].switches)
    if wanted != (SET,):
        return {other: wanted[0]}
    kind = TRAINING[other].kind
    return {other: {"switch": True, "int": 3, "float": 0.5}.get(kind, "x")}


def values_against(other: str, wanted: tuple) -> dict[str, object]:
    """Some with which it does not count."""
    if other == "family":
        return dict(next(family.switches for key, family in FAMILIES.items() if key not in wanted))
    kind, choices = TRAINING[other].kind, TRAINING[other].choices
    if kind == "choice":
        return {other: next(choice for choice in choices if choice not in wanted)}
    if wanted == (SET,):
        return {other: {"switch": False, "int": 0, "float": 0}.get(kind, "")}
    return {other: {"switch": not wanted[0], "int": 3, "float": 0.5}.get(kind, "x")}


def reason(other: str, wanted: tuple) -> str:
    """What the sentence must name."""
    return FAMILIES[wanted[0]].title if other == "family" else TRAINING[other].spec.label


@languages
@pytest.mark.parametrize("key", CONDITIONAL)
def test_a_conditional_field_is_idle_with_its_reason(key, language):
    """It names the setting that makes it idle, and wakes when that is changed."""
    matters = TRAINING[key].spec.matters
    awake = values.shown_values({})
    for other, wanted in matters.items():
        awake |= values_for(other, wanted)
    if TRAINING[key].spec.unbuilt is not True:
        assert key not in look(awake, language)["idle"]
    for other, wanted in matters.items():
        idle = look({**awake, **values_against(other, wanted)}, language)["idle"]
        assert reason(other, wanted) in idle[key]
