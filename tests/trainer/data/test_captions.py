"""Captions: what is read from files, and what each time of learning makes of them."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from trainer.data.captions import (
    CaptionRule,
    caption_of,
    decode_caption,
    extension,
    first_line,
    is_dropped,
    other_readings,
    process,
)
from trainer.files.whole_file import write_whole

RECORDED = json.loads(
    (Path(__file__).parents[2] / "data/references/captions.json").read_text(encoding="utf-8")
)
NAMES: dict[str, str] = {
    "shuffle_caption": "shuffle",
    "caption_dropout_rate": "dropout_rate",
    "caption_dropout_every_n_epochs": "dropout_every_n_epochs",
    "caption_tag_dropout_rate": "tag_dropout_rate",
    "caption_separator": "separator",
    "caption_prefix": "prefix",
    "caption_suffix": "suffix",
}
TAGS = "black cat, eating, sitting, red ball, grass"


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: str(case["settings"]))
def test_captions_equal_the_reference_draw_by_draw(case):
    settings: dict[str, Any] = case["settings"]
    rule = CaptionRule(**{NAMES.get(name, name): value for name, value in settings.items()})
    for seed, epoch, step, expected, next_random in case["rows"]:
        rng = random.Random(seed)
        found = rule.process(
            case["caption"], rng, epoch=epoch, step=step, total_steps=case["max_train_steps"]
        )
        assert found == expected
        assert rng.random() == next_random


def shuffled(keep_tokens: int, seed: int) -> list[str]:
    text = process(TAGS, shuffle=True, keep_tokens=keep_tokens, drop=False, rng=random.Random(seed))
    return text.split(", ")


def test_shuffle_caption_mixes_the_parts_and_loses_none():
    orders = {tuple(shuffled(0, seed)) for seed in range(20)}
    assert len(orders) > 10
    assert all(sorted(order) == sorted(TAGS.split(", ")) for order in orders)


def test_keep_tokens_stay_in_front():
    orders = [shuffled(2, seed) for seed in range(20)]
    assert all(order[:2] == ["black cat", "eating"] for order in orders)
    assert len({tuple(order[2:]) for order in orders}) > 1


def test_keep_tokens_do_nothing_without_shuffle():
    text = " a ,  b,c "
    assert process(text, shuffle=False, keep_tokens=1, drop=False, rng=random.Random(0)) == text


def test_dropped_captions_have_no_words():
    assert process(TAGS, shuffle=True, keep_tokens=1, drop=True, rng=random.Random(0)) == ""


def test_every_second_epoch_means_the_2nd_4th_and_6th():
    rng = random.Random(0)
    assert [epoch for epoch in range(1, 8) if is_dropped(0.0, 2, epoch, rng)] == [2, 4, 6]


def test_rate_is_the_share_of_dropped_captions():
    rng = random.Random(0)
    dropped = Counter(is_dropped(0.1, 0, 1, rng) for _ in range(10_000))
    assert 900 < dropped[True] < 1100
    assert not any(is_dropped(0.0, 0, epoch, rng) for epoch in range(1, 50))
    assert all(is_dropped(1.0, 0, 1, rng) for _ in range(50))


@pytest.mark.parametrize(
    ("setting", "ending"), [("", ".caption"), ("  ", ".caption"), ("txt", ".txt"), (".txt", ".txt")]
)
def test_blank_extension_means_caption(setting, ending):
    assert extension(setting) == ending


def test_the_first_line_with_words_is_the_caption():
    assert first_line("\n  \n sks cat, red \nsecond") == "sks cat, red"
    assert first_line(" \n\n") == ""


@pytest.mark.parametrize(
    ("text", "codec", "told"),
    [
        ("猫, cat", "utf-8", ""),
        ("猫, cat", "utf-8-sig", ""),
        ("", "utf-8-sig", ""),
        ("猫, cat", "cp932", "Shift-JIS"),
        ("ワンピースの少女、笑顔", "cp932", "Shift-JIS"),
        ("猫, cat", "utf-16", "UTF-16"),
        ("a cat", "utf-16-le", "UTF-16"),
        ("a cat", "utf-16-be", "UTF-16"),
        ("猫, cat", "utf-32", "UTF-32"),
        ("青い目の少女", "iso2022_jp", "ISO-2022-JP"),
        ("一个女孩, 长发, 白色裙子, 微笑", "gbk", "GBK"),
        ("少女 微笑 長髪", "cp932", "Shift-JIS"),
        ("长发", "gbk", "GBK"),
        ("소녀, 긴 머리", "cp949", "EUC-KR"),
        ("café, naïve girl", "cp1252", "Windows-1252"),
        ("девочка, улыбка", "cp1251", "Windows-1251"),
    ],
)
def test_captions_of_other_encodings_are_read_and_told(text, codec, told):
    assert decode_caption(text.encode(codec)) == (text, told)


KOREAN = [
    "여우", "늑대", "소녀", "고양이", "강아지", "바다", "하늘", "꽃병",
    "모자", "할머니", "자동차", "도서관", "봄날", "첫눈", "왕자", "눈사람",
]  # fmt: skip
CHINESE = [
    "狐狸", "狼", "女孩", "猫咪", "小狗", "大海", "天空", "花瓶",
    "帽子", "奶奶", "汽车", "图书馆", "春天", "初雪", "王子", "雪人",
]  # fmt: skip
JAPANESE = [
    "狐", "狼", "少女", "子猫", "子犬", "大海", "天空", "花瓶",
    "帽子", "祖母", "自動車", "図書館", "春日", "初雪", "王子", "雪人",
]  # fmt: skip


@pytest.mark.parametrize(("words", "codec", "told"), [
    (KOREAN, "cp949", "EUC-KR"), (CHINESE, "gbk", "GBK"), (JAPANESE, "cp932", "Shift-JIS"),
    (KOREAN[:3], "cp949", "EUC-KR"), (CHINESE[:3], "gbk", "GBK"),
])  # fmt: skip
def test_captions_of_one_word_are_read_by_all_of_their_folder(tmp_path: Path, words, codec, told):
    for word in words:
        (tmp_path / f"{word}.txt").write_bytes(word.encode(codec))
    (tmp_path / "plain.txt").write_text("fox")
    (tmp_path / "mine.txt").write_text("café", encoding="utf-8")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.txt")
    for word in words:
        file = tmp_path / f"{word}.txt"
        assert decode_caption(file.read_bytes(), file) == (word, told)
    assert decode_caption((tmp_path / "mine.txt").read_bytes(), tmp_path / "mine.txt") == ("café", "")


def test_what_more_text_has_told_stays_while_the_rest_is_saved_anew(tmp_path: Path):
    """Of the last word alone another encoding may be likelier."""
    for word in [*KOREAN, "찰"]:
        (tmp_path / f"{word}.txt").write_bytes(word.encode("cp949"))
    last = tmp_path / "찰.txt"
    assert decode_caption(last.read_bytes(), last) == ("찰", "EUC-KR")
    for word in KOREAN:
        write_whole(tmp_path / f"{word}.txt", word.encode())
        assert decode_caption(last.read_bytes(), last) == ("찰", "EUC-KR")


def test_a_caption_is_read_anew_when_others_tell_more_of_their_folder(tmp_path: Path):
    (tmp_path / "0.txt").write_bytes("찰".encode("cp949"))
    [entry] = os.scandir(tmp_path)
    alone = caption_of(entry)
    for number, word in enumerate(KOREAN, 1):
        (tmp_path / f"{number}.txt").write_bytes(word.encode("cp949"))
    assert caption_of(entry) == ("찰", "EUC-KR") != alone
    assert caption_of(entry) == caption_of(entry)


def test_every_reading_of_a_caption_is_shown(tmp_path: Path):
    for word in KOREAN:
        (tmp_path / f"{word}.txt").write_bytes(word.encode("cp949"))
    shown = other_readings(tmp_path / "여우.txt")
    assert shown[0] == ("EUC-KR", "여우")
    assert ("GBK", "여우".encode("cp949").decode("gbk")) in shown


def test_a_caption_in_no_encoding_is_read_somehow():
    text, told = decode_caption(b"caf\x81, \xff")
    assert text.startswith("caf")
    assert told


@pytest.mark.parametrize("text", ["", " ", ",", ", , ,", "、、", "　，", "\0\0", "."])
def test_a_caption_without_words_is_empty(text):
    assert first_line(text) == ""


def test_marks_that_are_words_are_kept():
    for text in ("♥", "^_^", ":3", "!?", "1", "...cat"):
        assert first_line(text) == text
