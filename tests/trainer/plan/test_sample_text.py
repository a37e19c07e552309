"""A picture's text is that of AUTOMATIC1111's page, whatever stands in it, and is read back."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from trainer.plan.sample_prompts import SamplePrompt
from trainer.plan.sample_text import PNG_KEY, picture_text, text_entries
from trainer.training.sampling import as_png


def test_it_is_the_form_that_others_read():
    prompt = SamplePrompt("a cat, sitting", "blurry", 512, 768, steps=20, scale=7.0)
    text = picture_text(
        prompt, 42, "k_euler_a", {"Model": "v1-5", "Lora": "owl", "Lora step": 120, "Run": "r1"}
    )
    assert text == (
        "a cat, sitting\nNegative prompt: blurry\n"
        "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 512x768, "
        "Model: v1-5, Lora: owl, Lora step: 120, Run: r1"
    )


@pytest.mark.parametrize("name", ["plain", "a, b", "C: x", 'say "it"', "桃、猫", "back\\slash, too"])
@pytest.mark.parametrize("words", ["a cat", "桃太郎, 1girl", "Steps: 3\nSteps: 4, Run: other", ""])
def test_what_is_written_is_read_back_from_the_file(name: str, words: str):
    text = picture_text(
        SamplePrompt(words, words, 512, 512), 1, "dpmsolver", {"Lora": name, "Run": "20261130-owl"}
    )
    picture = Image.open(io.BytesIO(as_png(Image.new("RGB", (8, 8)), text)))
    told = picture.info[PNG_KEY]
    assert told == text
    entries = text_entries(told)
    assert (entries["Lora"], entries["Run"], entries["Seed"]) == (name, "20261130-owl", "1")


@pytest.mark.parametrize("text", ["", "\n", "only words", "a: b, c: d", '{"prompt": {}}'])
def test_any_other_text_has_no_entries(text: str):
    assert text_entries(text) == {}
