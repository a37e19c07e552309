"""Lines of "Sample prompts" are read as sd-scripts reads them; what does nothing is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainer.families.table import SD1
from trainer.plan.sample_prompts import SamplePrompt, parse_line, parse_lines, prompts
from trainer.problems import Problem

OPTION_AS_PROMPT = {"w 20 wide prompt --h 64": "width"}
"""Where the reference takes the prompt itself for an option."""
RECORDED = json.loads((Path(__file__).parents[2] / "data/references/sample_prompt_lines.json").read_text())


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case["line"])
def test_lines_equal_the_reference(case):
    wanted = dict(case["dict"])
    if case["line"] in OPTION_AS_PROMPT:
        del wanted[OPTION_AS_PROMPT[case["line"]]]
    assert parse_line(case["line"]) == wanted


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("a cat —n bad", "a cat --n bad"), ("a cat –n bad", "a cat --n bad"),
        ("a cat ―n bad", "a cat --n bad"),
        ("a cat -n bad -w 512", "a cat --n bad --w 512"), ("a cat\u3000--n bad", "a cat --n bad"),
        ("a cat\u3000－－n\u3000bad", "a cat --n bad"), ("a cat －－ｗ\u3000５１２", "a cat --w 512"),
        ("a cat --l 7,5", "a cat --l 7.5"), ("a cat --l\u30007.5", "a cat --l 7.5"),
        ("a cat --w512 -h=768", "a cat --w 512 --h 768"), ("a cat --w=512", "a cat --w 512"),
        ("a cat --steps 20 --cfg 7", "a cat --s 20 --l 7"), ("a cat --negative bad", "a cat --n bad"),
        ("a cat--n bad", "a cat --n bad"),
        ("a cat −−w 512", "a cat --w 512"), ("猫、座る　ーw 512", "猫、座る --w 512"),
    ],
)  # fmt: skip
def test_what_is_nearly_an_option_is_offered_as_one(line: str, meant: str):
    text = f"first\n{line}\nlast --n dog"
    told = [found for found in parse_lines(text, SD1) if isinstance(found, Problem) and found.fix]
    assert [problem.fix for problem in told] == [{"sample_prompts": f"first\n{meant}\nlast --n dog"}]
    assert told[0].fix
    assert codes(told[0].fix["sample_prompts"]) == []


PASTED = """a cat, (red:1.2)
Negative prompt: bad hands,
Steps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 1234, Size: 512x768, Model: x

a dog --w 64

negative prompt: worst
a bird
Steps: 30, Seed: 5"""


def test_what_other_pages_write_beneath_a_picture_is_offered_as_options():
    assert codes(PASTED) == ["preflight.sample_pasted"]
    [told] = [found for found in parse_lines(PASTED, SD1) if isinstance(found, Problem)]
    better = (
        "a cat, (red:1.2) --n bad hands, --s 20 --l 7.5 --d 1234 --w 512 --h 768\n\n"
        "a dog --w 64 --n worst\na bird --s 30 --d 5"
    )
    assert (told.values["line"], told.fix) == (2, {"sample_prompts": better})
    assert codes(better) == []
    first, *_ = prompts(better, SD1)
    assert first == SamplePrompt("a cat, (red:1.2)", "bad hands,", 512, 768, 1234, 7.5, 20)


@pytest.mark.parametrize("line", ["negative prompts are no prompts", "Steps: of a temple", "two steps: 1, 2"])
def test_a_prompt_that_only_sounds_like_it_is_one(line: str):
    assert codes(line) == []


def test_a_line_that_belongs_to_no_prompt_is_told_without_a_fix():
    [told] = [found for found in parse_lines("Negative prompt: bad", SD1) if isinstance(found, Problem)]
    assert (told.code, told.fix) == ("preflight.sample_pasted", None)


@pytest.mark.parametrize("line", ["N gage phone on a table", "w 20 people", "s 5 series", "d 7"])
def test_a_prompt_is_never_an_option(line: str):
    """It is drawn as it stands; that sd-scripts would read it otherwise is told."""
    assert prompts(line, SD1) == [SamplePrompt(line, "", 512, 512)]
    assert codes(line) == ["preflight.sample_leading"]


@pytest.mark.parametrize(
    "line", ["twenty-one, semi-nude - not", "a-w 5", "a cat, t-shirt", "A1--w", "１－２"]
)
def test_hyphens_in_words_are_words(line: str):
    assert codes(line) == []


@pytest.mark.parametrize(
    ("line", "code", "drawn"),
    [
        ("a --w 130 --h 77", "sample_eighths", {"width": 128, "height": 72}),
        ("a --s 0", "sample_steps", {"steps": 1}),
        ("a --s 5000", "sample_steps", {"steps": 1000}),
        ("a --l", "sample_bare", {"scale": 7.5}),
        ("a --ss", "sample_bare", {"sampler": ""}),
        ("--w 512", "sample_blank", {"prompt": ""}),
        ('{"prompt": "a"}', "sample_json", {}),
        ('[ {"prompt": "a"}]', "sample_json", {}),
        ("a --w --h 64", "sample_bare", {"width": 512}),
        ("a --l 7.5x", "sample_partly", {"scale": 7.5}),
        (f"a --d {2**64}", "sample_seed", {"seed": 0}),
        (f"a --d {10**30}", "sample_seed", {"seed": 10**30 % 2**64}),
        ("D:/lora/prompts.txt", "sample_file", {}),
        (r"C:\my loras\prompts.json", "sample_file", {}),
        ("prompts.toml", "sample_file", {}),
    ],
)
def test_odd_values_are_told(line: str, code: str, drawn: dict[str, object]):
    assert codes(line) == [f"preflight.{code}"]
    (prompt,) = prompts(line, SD1)
    assert {name: getattr(prompt, name) for name in drawn} == drawn


def codes(text: str) -> list[str]:
    return [found.code for found in parse_lines(text, SD1) if isinstance(found, Problem)]


def test_a_full_line_becomes_a_prompt():
    (prompt,) = parse_lines("a cat --n bad, ugly --w 496 --h 768 --d 7 --l 5.5 --s 12 --ss ddim", SD1)
    assert prompt == SamplePrompt("a cat", "bad, ugly", 496, 768, 7, 5.5, 12, "ddim")


def test_what_is_not_said_has_the_usual_value():
    assert prompts("a cat", SD1) == [SamplePrompt("a cat", "", 512, 512, None, 7.5, 30)]


def test_guidance_counts_as_scale_where_no_scale_is_given():
    assert [prompt.scale for prompt in prompts("a --g 3.5\na --g 3.5 --l 9", SD1)] == [3.5, 9.0]


def test_blank_lines_and_comments_are_left_out():
    assert [prompt.prompt for prompt in prompts("\n# first\n  a cat  \n\n  # second\na dog\r\n", SD1)] == [
        "a cat",
        "a dog",
    ]


def test_a_line_of_options_alone_draws_without_words():
    assert prompts("--w 64 --d 1", SD1) == [SamplePrompt("", "", 64, 512, 1)]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("a --x 1", "preflight.sample_option"),
        ("a --w 64 --d 1 --w 128", "preflight.sample_twice"),
        ("a --n b --N c", "preflight.sample_twice"),
        ("a <lora:mine:0.8>", "preflight.sample_tag"),
        ("a --n <LyCO:x>", "preflight.sample_tag"),
        ("a --W abc", "preflight.sample_value"),
        ("a --d -1", "preflight.sample_value"),
        ("a --l 7.5.1", "preflight.sample_value"),
        ("a --fs 3", "preflight.sample_idle"),
        ("a --ss nonsense", "preflight.sample_sampler"),
        ("a --w 8", "preflight.sample_small"),
        ("a --h 9000", "preflight.sample_large"),
    ],
)
def test_options_that_do_nothing_are_told_with_their_line(line, code):
    found = [item for item in parse_lines(f"a cat\n{line}", SD1) if isinstance(item, Problem)]
    assert [problem.code for problem in found] == [code]
    assert found[0].values["line"] == 2
    assert not found[0].blocks
    assert "2" in str(found[0].said("en"))
    assert "2" in str(found[0].said("ja"))


def test_sound_lines_have_no_hints():
    assert codes("a cat --n dog -- red --w 64 --h 64 --d 1 --l 7 --s 20") == ["preflight.sample_option"]
    assert codes("a cat, sitting --n dog\na dog --n") == []


def test_an_unknown_sampler_falls_back_to_the_setting():
    assert [prompt.sampler for prompt in prompts("a --ss nonsense\na --ss ddim", SD1)] == ["", "ddim"]
