"""What captions and masks hold is told before the run, with the pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import CLIPTokenizer

from tests.trainer.found import expect, find
from tests.trainer.made import sound_settings, sound_values
from trainer.data.caption_tokens import TOKENIZER_FOLDER, clean_caption, token_count
from trainer.data.captions import extension
from trainer.data.prompt_attention import parse_weights
from trainer.preflight import looks
from trainer.preflight.check import check, check_values

TEXTS = [
    "", "a cat", "1girl, solo, (red eyes:1.2), masterpiece", "猫、座る、かわいい",
    "don't it's we've", "ｈｅｌｌｏ　１",
    "a" * 300, "!!! ???", "  spaced \t out ", "emoji 😀 <lora:x:1>", "&amp; é naïve ÜNÏ",
    "1234567", "sky_blue; x",
]  # fmt: skip


def write(folder: Path, *texts: str) -> None:
    for number, text in enumerate(texts):
        (folder / "img" / "10_sks cat" / f"{number}.txt").write_text(text, encoding="utf-8")


def test_tokens_are_counted_as_the_text_encoder_counts_them() -> None:
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER_FOLDER)
    for text in [*TEXTS, ", ".join(TEXTS)]:
        ids = tokenizer(clean_caption(text), truncation=False, verbose=False).input_ids
        assert token_count(text) == len(ids) - 2, text


@pytest.mark.parametrize(("given", "fixed"), [
    ("/../../.txt", ".txt"), ("..\\..\\x.cap", ".x.cap"), ("captions/txt", ".txt"),
    ("./", ".caption"),
])  # fmt: skip
def test_captions_lie_beside_their_pictures(given: str, fixed: str, tmp_path: Path) -> None:
    settings = sound_settings(tmp_path, caption_extension=given)
    told = find(check(settings), "preflight.extension_path")
    assert told.blocks
    assert told.fix == {"caption_extension": fixed}
    assert extension(given) == fixed


@pytest.mark.parametrize(("tags", "limit"), [(20, 75), (40, 75), (60, 150), (90, 150), (200, 75)])
def test_captions_that_are_cut_off_are_named(tags: int, limit: int, tmp_path: Path) -> None:
    settings = sound_settings(tmp_path, max_token_length=limit)
    long = ", ".join(f"tag{number % 9}" for number in range(tags))
    write(tmp_path, "short", long)
    count = token_count(long)
    found = [problem for problem in check(settings).problems if problem.code == "preflight.caption_long"]
    assert bool(found) == (count > limit)
    if found:
        assert not found[0].blocks
        assert found[0].values["names"] == ["10_sks cat/1.png"]
        enough = next((length for length in (150, 225) if length >= count), 225)
        assert found[0].fix == {"max_token_length": enough}


@pytest.mark.parametrize(
    ("caption", "joined"),
    [
        ("もも、ソファ", True), ("momo，sofa，cat", True), ("もも､猫", True),
        ("もも, ソファ", False), ("もも、ソファ, 猫", False), ("もも", False),
        ("ももは窓のそばの大きなソファの上で、気持ちよさそうに丸くなって眠っています。", False),
    ],
)  # fmt: skip
def test_tags_between_japanese_commas_are_one_tag(caption: str, joined: bool, tmp_path: Path) -> None:
    settings = sound_settings(tmp_path, shuffle_caption=True)
    write(tmp_path, "猫", caption)
    found = [problem for problem in check(settings).problems if problem.code == "preflight.caption_commas"]
    assert [problem.values["names"] for problem in found] == [["10_sks cat/1.png"]] * joined
    assert not any(problem.blocks for problem in found)
    unshuffled = check(settings.replace(shuffle_caption=False)).problems
    assert "preflight.caption_commas" not in {problem.code for problem in unshuffled}


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000, "[" * 5_000 + "cat", "(cat:1.1.1)", "(" * 150 + "cat" + ")" * 150, "(a:99999)",
        "(" * 1_500 + "cat" + ")" * 1_500, "(((cat:900):900):900)", "(cat:-5000)", "(a)" * 2_000,
    ],
    ids=lambda text: text[:12] + str(len(text)),
)  # fmt: skip
def test_weights_that_cannot_be_meant_stop_the_run(text: str, tmp_path: Path) -> None:
    settings = sound_settings(tmp_path, weighted_captions=True)
    write(tmp_path, "a (fine:1.2) [one]", "fine", text)
    problem = expect(settings, "preflight.caption_weights", setting="weighted_captions", blocks=True)
    assert problem.values["names"] == ["10_sks cat/2.png"]


def test_sound_weights_pass() -> None:
    for text in ("((cat))", "(a:1.3) [b] \\(c\\)", "(open", "[[deep]] ((((very))))", "a:b (c:0)", "(a:-1)"):
        assert parse_weights(text)


LONG = ", ".join(f"tag{number}" for number in range(50))


@pytest.mark.parametrize(
    ("line", "limit", "told"),
    [(LONG, 75, True), (LONG, 225, False), (f"a cat --n {LONG}", 75, True), (f"{LONG} --w 512", 150, True),
     ("猫" * 40, 75, True), ("a cat --w 512 --h 512 --d 1 --l 7.5 --s 20 --n " + "bad, " * 9, 75, False)],
)  # fmt: skip
def test_sample_prompts_that_are_cut_off_are_named(line: str, limit: int, told: bool, tmp_path: Path) -> None:
    settings = sound_settings(tmp_path, sample_prompts=line, sample_every_n_epochs=1, max_token_length=limit)
    found = [problem for problem in check(settings).problems if problem.code == "preflight.sample_long"]
    assert bool(found) == told
    assert not any(problem.blocks for problem in found)


def test_sample_prompts_have_weights_that_can_be_read(tmp_path: Path) -> None:
    values = {"sample_prompts": "a dog\na (cat:1.1.1) --n b", "sample_every_n_epochs": 1}
    settings = sound_settings(tmp_path, weighted_captions=True, **values)
    expect(settings, "preflight.sample_weights", setting="sample_prompts", blocks=True)
    assert not check(settings.replace(weighted_captions=False)).problems
    assert not check(settings.replace(sample_prompts="a (cat:1.1)")).problems


def test_the_page_looks_at_some_each_time_and_a_run_at_all(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(looks, "AT_A_LOOK", 1)
    values = sound_values(tmp_path)
    write(tmp_path, *(", ".join([f"word{number}"] * 60) for number in range(4)))

    def told() -> int:
        found = check_values(values)[1].problems
        return next((int(p.values["count"]) for p in found if p.code == "preflight.caption_long"), 0)

    assert [told() for _ in range(5)] == [1, 2, 3, 4, 4]
    write(tmp_path, *(", ".join([f"other{number}"] * 60) for number in range(4)))
    settings, _ = check_values(values)
    assert settings
    assert find(check(settings), "preflight.caption_long").values["count"] == "4"
    assert json.dumps([problem.as_json() for problem in check(settings).problems])
