"""The search finds every setting, by label, key and the words of the guides."""

from __future__ import annotations

import pytest

from app.form import help_texts
from app.texts import TEXTS
from trainer.messages import LANGUAGES, texts
from trainer.settings import TRAINING
from trainer.tools.table import TOOLS


@pytest.mark.parametrize("key", TRAINING)
def test_every_setting_is_found_by_label_and_key(key):
    for query in (TRAINING[key].spec.label, key):
        assert key in [hit["key"] for hit in help_texts.find(query, "en")], query


def test_search_reads_japanese_help():
    assert help_texts.find("正則化", "en")[0]["key"] == "reg_data_dir"
    assert help_texts.find("ｌｅａｒｎｉｎｇ　ｒａｔｅ", "ja")[0]["label"].lower().startswith("learning rate")


@pytest.mark.parametrize(
    ("query", "key"),
    [
        ("バッチ", "train_batch_size"), ("バッチサイズ", "train_batch_size"), ("学習率", "learning_rate"),
        ("エポック", "epoch"), ("解像度", "max_resolution"), ("オプティマイザ", "optimizer"),
        ("スケジューラー", "lr_scheduler"), ("正則化", "reg_data_dir"), ("教師画像", "train_data_dir"),
        ("ランク", "network_dim"), ("保存先", "output_dir"), ("シード", "seed"),
        ("混合精度", "mixed_precision"), ("キャプション", "caption_extension"), ("左右反転", "flip_aug"),
        ("batch size", "train_batch_size"),
    ],
)  # fmt: skip
def test_the_words_of_guides_are_found_in_both_languages(query, key):
    for language in LANGUAGES:
        assert key in [hit["key"] for hit in help_texts.find(query, language)], language


def test_search_words_are_of_settings_in_both_languages():
    english, japanese = (texts(language, TEXTS)["search"] for language in LANGUAGES)
    assert set(english) == set(japanese)
    assert set(english) <= set(TRAINING)


@pytest.mark.parametrize(
    ("query", "tool"),
    [
        ("merge", "merge"), ("resize", "resize"), ("wd14", "tag"), ("マージ", "merge"), ("blip", "caption"),
        ("checkpoint", "merge_into"), ("ランク変更", "resize"), ("trigger words", "metadata"),
        ("ｄｙｌｏｒａ", "split"),
    ],
)  # fmt: skip
def test_a_tool_is_found_by_its_title_and_its_other_names(query: str, tool: str):
    for language in LANGUAGES:
        assert tool in [hit["tool"] for hit in help_texts.find_tools(query, language)]


def test_every_tool_is_found_by_its_own_title_in_both_languages():
    for language in LANGUAGES:
        for name in TOOLS:
            title = texts(language)["tools"][name]["title"]
            assert help_texts.find_tools(title, "en")[0]["tool"] == name
