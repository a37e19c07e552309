"""What a widget holds comes back as the value it stands for."""

from __future__ import annotations

import pytest

from app.form import values as form
from app.form.groups import LORA_MORE
from app.texts import group_words, words
from trainer.preflight.check import check_values
from trainer.settings import TRAINING, Settings


def test_defaults_shown_come_back_as_defaults():
    shown = form.shown_values({})
    settings, _ = check_values(shown)
    assert settings == Settings()
    assert form.changed(shown) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-4, "1e-4"), (5e-5, "5e-5"), (0.002, "0.002"), (1.0, "1"), (0.0, "0"), (1.25e-6, "1.25e-6")],
)  # fmt: skip
def test_rates_are_short_and_read_back(value, text):
    shown = form.rate_text(value)
    assert float(shown) == pytest.approx(value, rel=1e-5)
    assert shown == text


def test_two_rates_are_shown_with_a_blank_between_them():
    setting = TRAINING["text_encoder_lr"]
    for value in ((5e-5, 1e-5), [5e-5, 1e-5]):
        assert form.shown(setting, value) == "5e-5 1e-5"
    assert form.typed(setting, "5e-5 1e-5") == (5e-5, 1e-5)


def test_a_blank_rate_stays_blank_and_is_a_change():
    values = {**form.shown_values({}), "unet_lr": ""}
    settings, _ = check_values(values)
    assert settings is not None
    assert settings.optimizer.unet_lr is None
    assert form.changed(values) == ["unet_lr"]


@pytest.mark.parametrize(
    ("key", "same"),
    [("learning_rate", "0.0001"), ("learning_rate", "1e-04"), ("epoch", 1.0), ("network_alpha", "1")],
)
def test_another_spelling_of_the_default_is_no_change(key, same):
    assert form.changed({key: same}) == []


def test_a_value_that_cannot_be_read_is_a_change_and_a_problem():
    values = {**form.shown_values({}), "learning_rate": "fast"}
    assert form.changed(values) == ["learning_rate"]
    settings, checked = check_values(values)
    assert settings is None
    assert any(problem.setting == "learning_rate" and problem.blocks for problem in checked.problems)


def test_all_groups_have_a_title_in_both_languages():
    used = {setting.spec.group for setting in TRAINING.values()} | {"lora_more", "unet"}
    for language in ("en", "ja"):
        titles = group_words(language)
        assert used <= set(titles)
        assert all(titles[group]["title"] for group in used)


def test_both_languages_have_the_same_words():
    english, japanese = words("en"), words("ja")
    assert set(english) == set(japanese)
    for key, text in english.items():
        assert set(_fields(text)) == set(_fields(japanese[key])), key


def _fields(text: str) -> list[str]:
    import string

    return [name for _, name, _, _ in string.Formatter().parse(text) if name]


def test_lora_fold_out_leaves_the_main_choice_in_view():
    assert "LoRA_type" not in LORA_MORE
    assert "LyCORIS_preset" in LORA_MORE
